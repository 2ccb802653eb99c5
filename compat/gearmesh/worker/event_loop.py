"""The event loop that runs ``async def`` tasks for the threads of a thread executor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any

from gearmesh.worker.forked import FORKS, end_forked_process
from gearmesh.worker.job import InterruptibleThread

__all__ = ["EventLoopThread"]


class EventLoopThread:
    """An event loop in a thread of its own, started at the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any], slot: InterruptibleThread | None = None) -> Any:
        """Run a coroutine to its end in the loop, and wait for it. ``slot``: lets other threads cancel it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="gearmesh-loop", daemon=True
                )
                self._thread.start()
        value, exc = asyncio.run_coroutine_threadsafe(_outcome(coroutine, slot), self._loop).result()
        if exc is not None:
            raise exc
        return value

    def stop(self, timeout: float = 5.0) -> None:
        """Cancel all coroutines, and wait ``timeout`` seconds for the thread's end.

        A call before any coroutine, or a second one, is fine.
        """
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(timeout)
                self._loop = self._thread = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _outcome(
    coroutine: Coroutine[Any, Any, Any], slot: InterruptibleThread | None
) -> tuple[Any, BaseException | None]:
    """Return a coroutine's value, or its exception: a raised SystemExit would end the loop and all coroutines."""
    if slot is not None:
        task = asyncio.current_task()
        assert task is not None
        slot.cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
    forks = FORKS.count
    try:
        value = await coroutine
    except BaseException as exc:
        if FORKS.count != forks:
            end_forked_process(exc)
        return None, exc
    if FORKS.count != forks:
        end_forked_process(None)
    return value, None
