"""The app of the workers under test. Every run of a task leaves its mark on a Redis that no fault touches.

``CHAOS_BROKER``: URL of the broker. ``CHAOS_BACKEND``: of the backend; without it, the same. ``CHAOS_COUNTS``: port of
the server that counts. ``CHAOS_REDIS``: settings of Redis connections, in JSON. ``CHAOS_SKEW``: seconds by which this
process's wall clock is wrong.
"""

from __future__ import annotations

import ctypes
import json
import os
import time

import redis

from gearmesh import App


def _shift_clock(seconds: float) -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


if skew := float(os.environ.get("CHAOS_SKEW") or 0):
    _shift_clock(skew)

_broker = os.environ["CHAOS_BROKER"]
_redis = json.loads(os.environ.get("CHAOS_REDIS") or "{}")
app = App(broker=_broker, backend=os.environ.get("CHAOS_BACKEND") or _broker, redis=_redis)
_counts = redis.Redis(host="127.0.0.1", port=int(os.environ["CHAOS_COUNTS"]))


def mark(key: str, what: str = "run") -> None:
    """Mark the process that ran it and the moment, by the clock that all processes of a machine share."""
    _counts.rpush(f"{what}:{key}", f"{os.getpid()} {time.monotonic():.6f}")


@app.task
def work(key: str, ms: int) -> str:
    """Mark, take a while, and mark the end too."""
    mark(key)
    time.sleep(ms / 1000)
    mark(key, "end")
    return key


@app.task
def quick(key: str) -> None:
    """Mark."""
    mark(key)


@app.task
def step(key: str, number: int) -> int:
    """One step of a chain; the next one gets the next number."""
    mark(f"{key}/{number}")
    return number + 1


@app.task
def member(key: str, number: int) -> int:
    """One member of a chord."""
    mark(f"{key}/{number}")
    return number


@app.task
def fire(key: str, *numbers: int) -> int:
    """The chord's callback."""
    mark(f"{key}/fired")
    return sum(numbers)


@app.task
def flaky(key: str) -> str:
    """Fails at its first run, so that its retry waits in the delayed set."""
    mark(key)
    if _counts.llen(f"run:{key}") < 2:
        raise RuntimeError("the first try fails")
    return key


@app.task
def hold_gil(key: str, seconds: int) -> int:
    """Sleep in C without giving up the GIL: no other thread of this process moves."""
    mark(key)
    return int(ctypes.PyDLL(None).sleep(seconds))


@app.task
def slow_step(key: str, ms: int, number: int) -> int:
    """A step that takes a while."""
    mark(f"{key}/{number}")
    time.sleep(ms / 1000)
    return number + 1


@app.task
def leave(key: str, code: int) -> str:
    """Ends its process at the first run."""
    mark(key)
    if _counts.llen(f"run:{key}") < 2:
        os._exit(code)
    return key
