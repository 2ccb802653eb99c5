"""Applies time limits to tasks that run in the caller: raises in the task's thread, or cancels its coroutine."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from gearmesh.errors import HardLimitExceeded, SoftLimitExceeded

__all__ = ["call_limited", "limited_coroutine", "raise_in"]

T = TypeVar("T")


class _HardLimit(BaseException):
    """Raised in a thread whose hard limit is over: a task's ``except Exception`` does not catch it."""


def call_limited(call: Callable[[], T], soft: float | None, hard: float | None) -> T:
    """Call a function, and interrupt it when it runs for too long.

    Python raises between two of its instructions: a call that waits in C, as ``time.sleep`` does, has to return first.

    Args:
        call: the function.
        soft, hard: seconds; None or 0: no limit.

    Raises:
        SoftLimitExceeded: in the function, which may catch it.
        HardLimitExceeded: in the caller. In the function, it is an exception that ``except Exception`` does not catch.
    """
    with ExitStack() as stack:
        if hard:
            stack.enter_context(_interrupted(hard, _HardLimit, HardLimitExceeded(hard)))
        if soft:
            stack.enter_context(_interrupted(soft, SoftLimitExceeded, SoftLimitExceeded(soft)))
        return call()


async def limited_coroutine(coroutine: Coroutine[Any, Any, T], soft: float | None, hard: float | None) -> T:
    """Await a coroutine, and cancel it when it runs for too long: at its soft limit, and again at its hard limit.

    Raises:
        SoftLimitExceeded, HardLimitExceeded: the coroutine was cancelled at this limit.
    """
    running = asyncio.ensure_future(coroutine)
    exceeded: list[SoftLimitExceeded | HardLimitExceeded] = []

    def exceed(error: SoftLimitExceeded | HardLimitExceeded) -> None:
        exceeded.append(error)
        running.cancel()

    loop = asyncio.get_running_loop()
    timers = [loop.call_later(soft, exceed, SoftLimitExceeded(soft))] if soft else []
    if hard:
        timers.append(loop.call_later(hard, exceed, HardLimitExceeded(hard)))
    try:
        return await running
    except asyncio.CancelledError as exc:
        if not exceeded:
            raise
        raise exceeded[-1].with_traceback(exc.__traceback__) from None
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def _interrupted(seconds: float, kind: type[BaseException], error: Exception) -> Iterator[None]:
    """Raise ``kind`` in the block after these seconds; if the block does not catch it, raise ``error`` in its place."""
    thread, lock = threading.get_ident(), threading.Lock()
    over = sent = False

    def interrupt() -> None:
        nonlocal sent
        with lock:
            if not over:
                sent = True
                raise_in(thread, kind)

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            timer.cancel()
            with lock:
                over = True
                if sent:  # an exception that is still pending must not reach the code behind
                    raise_in(thread, None)
    except kind as exc:
        if not sent:
            raise
        raise error.with_traceback(exc.__traceback__) from exc.__cause__


def raise_in(thread: int, kind: type[BaseException] | None) -> bool:
    """Raise an exception in a thread at its next instruction; None takes back an exception that is still pending.

    Returns True if there is such a thread.
    """
    raised = None if kind is None else ctypes.py_object(kind)
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
    return found > 0
