"""Waits for tasks to end. One thread of the process reads states for all threads that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from celery.exceptions import TimeoutError

from gearmesh.results.poller import ResultPoller
from gearmesh.results.wait_handle import WaitHandle

__all__ = ["ended_tasks"]

#: Seconds between two calls of a caller's ``on_interval``.
ON_INTERVAL_PERIOD_S: Final = 0.5


def ended_tasks(
    poller: ResultPoller,
    uuids: Iterable[str],
    timeout: float | None,
    on_interval: Callable[[], Any] | None,
) -> Iterator[str]:
    """Yield the UUIDs of these tasks as they end; states are read at growing intervals of 1 ms to 500 ms.

    Args:
        timeout: seconds; None waits without a limit, 0 reads once.
        on_interval: Celery's hook, called before each group of ends and every half second.

    Raises:
        TimeoutError: Celery's class: some tasks have not ended within ``timeout`` seconds.
    """
    news = threading.Event()
    handle = WaitHandle(uuids, fail_fast=False, notify=news.set)
    if not handle.wanted:
        return
    begin = poller.add if timeout is None or timeout > 0 else poller.look
    deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
    begin(handle)
    given = 0
    try:
        while True:
            if on_interval is not None:
                on_interval()  # before the yield, because it raises the error of a failed parent task
            over = (
                handle.over
            )  # read before handle.found, to which the poller may add the last end in between
            ended = handle.found[given:]
            given += len(ended)
            yield from (state.TaskUUID for state in ended)
            if over:
                break
            left = deadline - time.monotonic()
            if left <= 0 and not handle.over:
                raise TimeoutError("The operation timed out.")
            news.wait(min(ON_INTERVAL_PERIOD_S, left))
            news.clear()
    finally:
        poller.remove(handle)
    if handle.error is not None:
        raise handle.error
