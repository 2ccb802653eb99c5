"""Names of parametrized tests that are the same in every process, as ``pytest -n`` needs them."""

from __future__ import annotations

import re

__all__ = ["ADDRESS", "shown"]

#: The address that Python shows in the repr of an object without its own; it differs from process to process.
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def shown(value: object) -> str:
    """``ids=`` of ``pytest.mark.parametrize``: the repr of a parameter without addresses."""
    return ADDRESS.sub("", repr(value))
