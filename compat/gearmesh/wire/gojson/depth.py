"""Measures how deep JSON text is nested, without parsing it.

msgspec recurses in C, and Python's recursion limit does not know the size of a thread's stack
(128 KB on musl). So only shallow text reaches msgspec.
"""

from __future__ import annotations

import re

__all__ = ["MAX_MSGSPEC_DEPTH", "shallow"]

#: Levels of brackets that msgspec gets. An ordinary signature has 3, and 2 more for each step of a chain.
MAX_MSGSPEC_DEPTH = 200

_BRACKET = re.compile(rb"[\[\]{}]")


def shallow(data: bytes, limit: int = MAX_MSGSPEC_DEPTH) -> bool:
    """Return True if no prefix of ``data`` that is valid JSON is nested deeper than ``limit``."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return True
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = 0
    for bracket in _BRACKET.findall(b"".join(data.split(b'"')[::2])):  # the text outside of strings
        if bracket in b"[{":
            depth += 1
            if depth > limit:
                return False
        else:
            depth -= 1
    return True
