"""Keeps a process quiet while it imports an app that another process imports as well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["muted"]


@contextmanager
def muted() -> Iterator[None]:
    """Drop the text that Python code prints or logs to ``sys.stdout`` and ``sys.stderr``.

    The streams stay the same objects, with the same descriptors, so the app may keep a log handler's stream, a bound
    ``write`` or the answer of ``isatty()``, and use it afterwards. Text that a subprocess writes to a descriptor itself
    is not dropped.
    """
    silent = True

    def switched(write: Callable[[str], int]) -> Callable[[str], int]:
        return lambda text: len(text) if silent else write(text)

    switches = [(stream, switched(stream.write)) for stream in (sys.stdout, sys.stderr) if stream is not None]
    for stream, switch in switches:
        stream.write = switch  # type: ignore[method-assign]
    try:
        yield
    finally:
        silent = False
        for stream, switch in switches:
            if stream.write is switch:  # else the app has replaced it by a function of its own
                del stream.write
