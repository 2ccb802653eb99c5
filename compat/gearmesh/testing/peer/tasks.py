"""The tasks that every worker peer registers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gearmesh
from gearmesh import App
from gearmesh.types import Int64
from gearmesh.verify.echo import echoes, outcomes
from gearmesh.wire.types import dump

__all__ = ["Counter", "make_app", "task_functions"]


class Counter:
    """Counts the ``noop`` and ``add`` calls that have begun. Safe in threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def up(self) -> None:
        """Count one more call."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def take(self, count: int, timeout: float) -> tuple[bool, int]:
        """Wait until ``count`` calls have begun, but no longer than ``timeout`` seconds.

        Returns True if they have begun, and the number of calls. If they have begun, the counter goes back to 0.
        """
        with self._changed:
            reached = self._changed.wait_for(lambda: self._count >= count, timeout)
            seen = self._count
            if reached:
                self._count = 0
            return reached, seen


def make_app(
    *, only: Iterable[str] = (), skip: Iterable[str] = (), counter: Counter | None = None, **settings: Any
) -> App:
    """Make an app with the contract's tasks.

    Args:
        only: register only these tasks; empty: all. skip: do not register these tasks.
        counter: counts the calls of ``noop`` and ``add``; None: they are not counted.
        settings: the keyword arguments of :class:`gearmesh.App`.
    """
    app = App(**settings)
    chosen, dropped = set(only), set(skip)
    for name, fn in task_functions(counter or Counter()):
        if (not chosen or name in chosen) and name not in dropped:
            app.task(name=name)(fn)
    return app


def task_functions(counter: Counter) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield names and functions, new ones for each app, because ``retry_later`` remembers the keys of its calls."""
    yield from _arithmetic(counter)
    yield from echoes().items()
    yield from _outcomes()


def _arithmetic(counter: Counter) -> Iterator[tuple[str, Callable[..., Any]]]:
    def noop() -> None:
        counter.up()

    def add(*numbers: Int64) -> Int64:
        counter.up()
        return sum(numbers)

    def multiply(*numbers: Int64) -> Int64:
        return math.prod(numbers)

    def sum_ints(numbers: list[Int64]) -> Int64:
        return sum(numbers)

    def sum_floats(numbers: list[float]) -> float:
        return sum(numbers, 0.0)

    def concat(texts: list[str]) -> str:
        return "".join(texts)

    for fn in (noop, add, multiply, sum_ints, sum_floats, concat):
        yield fn.__name__, fn


def _outcomes() -> Iterator[tuple[str, Callable[..., Any]]]:
    def panic() -> None:
        raise RuntimeError("went wrong")

    def with_ctx(number: Int64) -> str:
        sig = gearmesh.current()
        pairs = sorted((sig.Headers or {}).items(), key=lambda pair: pair[0].encode())
        headers = ",".join(f"{bytes(dump('string', k)).decode()}:{bytes(v).decode()}" for k, v in pairs)
        return f"{sig.Name}|{{{headers}}}|{number}"

    def sleep(ms: Int64) -> Int64:
        time.sleep(ms / 1000)
        return ms

    alike = outcomes()
    for name in ("two", "fail", "on_error", "retry_later"):
        yield name, alike[name]
    for fn in (panic, with_ctx, sleep):
        yield fn.__name__, fn
