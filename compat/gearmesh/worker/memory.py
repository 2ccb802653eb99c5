"""Reads the system's numbers about memory."""

from __future__ import annotations

import contextlib
import os
import resource
import sys

__all__ = ["oom_kills", "resident"]


def resident() -> int:
    """Return the bytes of memory that this process uses, or the most it ever used if the system tells only that."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def oom_kills() -> int | None:
    """Return how often the system has killed a process because memory ran out; None: it does not tell."""
    with contextlib.suppress(OSError), open("/proc/vmstat", "rb") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(b"oom_kill ")), None)
    return None
