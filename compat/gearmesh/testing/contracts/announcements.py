"""The contract of announcements: a watch gets the UUIDs of tasks that succeeded, and of tasks that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

import pytest

from gearmesh.interfaces.backend import Backend, Wake
from gearmesh.testing.contracts.store import BackendFixtures, OpenBackend, make_state
from gearmesh.testing.waiting import eventually
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, TaskState


class AnnouncementContract(BackendFixtures):
    """Tests of ``watch``; skipped for a backend without it."""

    def test_watch_announces_final_states(self, backend: Backend) -> None:
        told: list[str] = []
        stop = self._watch(backend, told.extend)
        uuid = f"task_{uuid4()}"

        def announced() -> bool:
            # The states are written again each time, because the watch may have begun after the first write.
            backend.write([make_state(uuid), make_state(uuid, STARTED), make_state(uuid, SUCCESS)])
            return uuid in told

        eventually(announced)
        stop()
        assert set(told) == {uuid}

    def test_a_watch_tells_failed_tasks_from_those_that_succeeded(self, backend: Backend) -> None:
        good: list[str] = []
        bad: list[str] = []

        def wake(succeeded: Sequence[str], failed: Sequence[str], states: Sequence[TaskState]) -> None:
            good.extend(succeeded)
            bad.extend(failed)

        stop = self._wake(backend, wake)
        first, second = f"task_{uuid4()}", f"task_{uuid4()}"

        def announced() -> bool:
            backend.write([make_state(first, SUCCESS), make_state(second, FAILURE)])
            return first in good and second in bad

        eventually(announced)
        stop()
        assert (set(good), set(bad)) == ({first}, {second})

    def test_a_failing_watcher_is_called_again(self, backend: Backend) -> None:
        calls: list[Sequence[str]] = []

        def fail(succeeded: Sequence[str], failed: Sequence[str], states: Sequence[TaskState]) -> None:
            calls.append(failed)
            raise ZeroDivisionError

        stop = self._wake(backend, fail)
        self._write_until(backend, lambda: len(calls) > 1, FAILURE)
        stop()

    def test_an_ended_watch_is_silent(self, backend: Backend) -> None:
        first: list[str] = []
        second: list[str] = []
        stop_first, stop_second = self._watch(backend, first.extend), self._watch(backend, second.extend)
        self._write_until(backend, lambda: bool(first and second))
        stop_first()
        stop_first()
        known, uuid = len(second), f"task_{uuid4()}"
        backend.write([make_state(uuid, SUCCESS)])
        eventually(lambda: len(second) > known and uuid in second)
        assert uuid not in first
        stop_second()

    def test_closing_ends_watches(self, open_backend: OpenBackend, backend: Backend) -> None:
        first: list[str] = []
        second: list[str] = []
        closed = open_backend()
        self._watch(closed, first.extend)
        stop = self._watch(backend, second.extend)
        self._write_until(backend, lambda: bool(first and second))
        closed.close()
        uuid = f"task_{uuid4()}"
        backend.write([make_state(uuid, SUCCESS)])
        eventually(lambda: uuid in second)
        assert uuid not in first
        stop()

    def _write_until(self, backend: Backend, told: Callable[[], bool], state: str = SUCCESS) -> None:
        """Write final states of new tasks until ``told``, because a watch may have begun after the first write."""

        def write() -> bool:
            backend.write([make_state(f"task_{uuid4()}", state)])
            return told()

        eventually(write)

    def _watch(self, backend: Backend, ended: Callable[[Sequence[str]], object]) -> Callable[[], None]:
        def wake(succeeded: Sequence[str], failed: Sequence[str], states: Sequence[TaskState]) -> None:
            ended([*succeeded, *failed])

        return self._wake(backend, wake)

    def _wake(self, backend: Backend, wake: Wake) -> Callable[[], None]:
        stop = backend.watch(wake)
        if stop is None:
            pytest.skip("this backend announces no states")
        return stop
