"""Places a caller and Redis on different processors while round trips are measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import redis

__all__ = ["apart"]


@contextmanager
def apart(client: redis.Redis, caller: int = 0) -> Iterator[None]:
    """Bind Redis to one processor and a caller's main thread to another one while the block runs.

    If the system happens to run both on the same processor, a round trip takes half the time, since no other processor
    has to be woken. The system decides this by chance, and keeps to it for a whole measurement.

    Args:
        client: of the Redis that is called; it runs on this machine.
        caller: the process that calls; 0: this one.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    server = client.info("server")["process_id"]
    before = {pid: os.sched_getaffinity(pid) for pid in (server, caller)}
    first, second = sorted(before[caller])[:2]
    os.sched_setaffinity(server, {first})
    os.sched_setaffinity(caller, {second})
    try:
        yield
    finally:
        for pid, processors in before.items():
            os.sched_setaffinity(pid, processors)
