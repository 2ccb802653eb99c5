"""Waiting for results: one thread asks for all that wait here, and is told of what Celery's workers store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from celery import states
from celery.exceptions import TimeoutError

from gearmesh.celery.bridge import Bridge
from gearmesh.results.wait_handle import WaitHandle

__all__ = ["ResultWaiting"]

#: Seconds between two calls of a waiter's ``on_interval``.
ON_INTERVAL_PERIOD_S: Final = 0.5


class ResultWaiting:
    """A part of :class:`~gearmesh.celery.backend.Backend`."""

    bridge: Bridge
    _cache: Any
    is_cached: Callable[[str], bool]
    get_task_meta: Callable[[str], dict[str, Any]]
    _ensure_not_eager: Callable[[], None]

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """The task's meta once it has ended; it is asked for more and more seldom, from 1 ms to 500 ms.

        Raises:
            TimeoutError: Celery's; not ended after ``timeout`` seconds.
        """
        self._ensure_not_eager()
        meta: dict[str, Any]
        for _, meta in self.get_many([task_id], timeout=timeout, on_interval=on_interval):
            return meta
        raise TimeoutError("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        max_iterations: int | None = None,
        **kwargs: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The metas of tasks as they end.

        Raises:
            TimeoutError: Celery's; not all ended after ``timeout`` seconds.
        """
        ids = dict.fromkeys(str(task_id) for task_id in task_ids)
        for task_id in list(ids):
            cached = self._cache.get(task_id) if self.is_cached(task_id) else None
            if cached is not None and cached["status"] in states.READY_STATES:
                del ids[task_id]
                yield task_id, cached
        for task_id in self._ended(ids, timeout, on_interval):
            meta = self.get_task_meta(task_id)
            if on_message is not None:
                on_message(meta)
            yield task_id, meta

    def _ended(
        self, ids: Iterable[str], timeout: float | None, on_interval: Callable[[], Any] | None
    ) -> Iterator[str]:
        news = threading.Event()
        watch = WaitHandle(ids, fail_fast=False, notify=news.set)
        if not watch.wanted:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = self.bridge.waiter
        if timeout is not None and timeout <= 0:
            waiter.look(watch)
        else:
            waiter.add(watch)
        given = 0
        try:
            while True:
                if on_interval is not None:
                    on_interval()  # before what has ended is given: a parent's error goes first
                while given < len(watch.found):
                    given += 1
                    yield watch.found[given - 1].TaskUUID
                if watch.over:
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("The operation timed out.")
                news.wait(ON_INTERVAL_PERIOD_S if left is None else min(ON_INTERVAL_PERIOD_S, left))
                news.clear()
        finally:
            waiter.remove(watch)
        if watch.error is not None:
            raise watch.error
