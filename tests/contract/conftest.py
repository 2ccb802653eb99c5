"""Readable failures inside the contract suites."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("gearmesh.testing.contracts")
