"""Keeps a process quiet while it imports an app that another process imports as well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["muted"]


@contextmanager
def muted() -> Iterator[None]:
    """Drop what is printed and logged to ``sys.stdout`` and ``sys.stderr``.

    The streams stay the same objects, with the same descriptors: what the app keeps of them, such as a log handler's
    stream, a bound ``write`` or the answer of ``isatty()``, is good afterwards. So what is written to a descriptor
    itself, as by a subprocess, is not dropped.
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
            if stream.write is switch:  # else the app has put a function of its own in front of it
                del stream.write
