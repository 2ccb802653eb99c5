"""Readable failures inside the contract suites, and the places where a Redis may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("gearmesh.testing.contracts")

from .places import (  # noqa: E402, F401
    cluster_place,
    place,
    sentinel_place,
    socket_place,
    tls_cluster,
    tls_cluster_place,
    tls_place,
    tls_sentinel_place,
    tls_sentinels,
)

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked slow belongs to the long form."""
    if os.environ.get("GEARMESH_CONTRACTS") != "long":
        for item in items:
            if item.path.parent == HERE and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="GEARMESH_CONTRACTS=long runs it"))
