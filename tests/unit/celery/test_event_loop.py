"""A connection in an event loop, with a loop and a connection that only remember."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gearmesh.celery.event_loop import MAX_ROUNDS_PER_TICK, EventLoopMembership


class Timer:
    def __init__(self, delay: float, call: Callable[[], None]) -> None:
        self.delay, self.call, self.cancelled = delay, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    def __init__(self) -> None:
        self.readers: dict[int, Any] = {}
        self.on_tick: set[Callable[[], None]] = set()
        self.timers: list[Timer] = []

    def add_reader(self, fd: int, *call: Any) -> None:
        self.readers[fd] = call

    def remove(self, fd: int) -> None:
        del self.readers[fd]

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(delay, call))
        return self.timers[-1]


class Socket:
    def fileno(self) -> int:
        return 7


class Channel:
    def __init__(self) -> None:
        self.due_at = float("inf")

    def due(self) -> float:
        return self.due_at


class Connection:
    def __init__(self) -> None:
        self.sock, self.released, self.wakes = Socket(), False, 0
        self.channel = Channel()
        self.consuming = [self.channel]

    def wake_fd(self) -> int:
        return 8

    def rest(self, timeout: float) -> None:
        pass

    def wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def connection() -> Connection:
    return Connection()


def join(connection: Connection, loop: Loop, rounds: int | BaseException) -> EventLoopMembership:
    """A membership whose connection has so many rounds of deliveries, or raises."""
    left = rounds

    def drain() -> None:
        nonlocal left
        if isinstance(left, BaseException):
            raise left
        if not left:
            raise TimeoutError
        left -= 1

    membership = EventLoopMembership(connection, loop, drain)  # type: ignore[arg-type]
    membership.join()
    return membership


def test_a_connection_is_a_part_of_the_loop_until_it_is_released(connection: Connection, loop: Loop) -> None:
    membership = join(connection, loop, 0)
    assert (set(loop.readers), loop.on_tick) == ({7, 8}, {membership.tick})
    connection.released = True
    membership.tick()
    assert (loop.readers, loop.on_tick) == ({}, set())
    membership.leave()


def test_a_busy_connection_asks_for_another_tick_at_once(connection: Connection, loop: Loop) -> None:
    """After some rounds the connection lets the loop serve other connections."""
    membership = join(connection, loop, MAX_ROUNDS_PER_TICK)
    membership.tick()
    assert (connection.wakes, loop.timers) == (1, [])
    membership.tick()
    assert (connection.wakes, loop.timers) == (1, []), "nothing came, and no channel has work to come"


def test_the_loop_ticks_when_a_channel_has_work(connection: Connection, loop: Loop) -> None:
    membership = join(connection, loop, 0)
    connection.channel.due_at = time.monotonic() + 10
    membership.tick()
    (first,) = loop.timers
    assert first.delay == pytest.approx(10, abs=1)
    membership.tick()
    assert loop.timers == [first], "the timer is set already"
    connection.channel.due_at -= 5
    membership.tick()
    assert first.cancelled
    assert loop.timers[1].delay == pytest.approx(5, abs=1)


def test_a_broken_connection_leaves_the_loop(connection: Connection, loop: Loop) -> None:
    membership = join(connection, loop, ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        membership.tick()
    assert (loop.readers, loop.on_tick) == ({}, set())
