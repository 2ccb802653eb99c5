"""Waiting for the ends of tasks, on a backend in memory."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from celery.exceptions import TimeoutError

from gearmesh.backends.memory import MemoryBackend
from gearmesh.celery.result_waiting import ended_tasks
from gearmesh.results.poller import ResultPoller
from gearmesh.testing.waiting import eventually
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskState


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend(uuid.uuid4().hex, expire=60)


@pytest.fixture
def poller(backend: MemoryBackend) -> Iterator[ResultPoller]:
    poller = ResultPoller(backend)
    yield poller
    poller.close()


def test_tasks_are_given_as_they_end(backend: MemoryBackend, poller: ResultPoller) -> None:
    backend.write([TaskState(TaskUUID="1", State=PENDING), TaskState(TaskUUID="2", State=SUCCESS)])
    ended = ended_tasks(poller, ["1", "2"], 10, None)
    assert next(ended) == "2"
    backend.write([TaskState(TaskUUID="1", State=FAILURE, Error="no")])
    assert list(ended) == ["1"], "a failure is an end, too"


def test_the_caller_is_called_before_the_ends_are_given(backend: MemoryBackend, poller: ResultPoller) -> None:
    """A parent's error goes first: Celery raises it there."""
    backend.write([TaskState(TaskUUID="1", State=SUCCESS)])

    def raises() -> None:
        raise LookupError("of the parent")

    with pytest.raises(LookupError):
        next(ended_tasks(poller, ["1"], 10, raises))


def test_a_timeout_of_zero_reads_once(backend: MemoryBackend, poller: ResultPoller) -> None:
    backend.write([TaskState(TaskUUID="1", State=SUCCESS), TaskState(TaskUUID="2", State=PENDING)])
    ended = ended_tasks(poller, ["1", "2"], 0, None)
    assert next(ended) == "1"
    with pytest.raises(TimeoutError):
        next(ended)
    assert not poller.running, "no thread was needed"
    assert list(ended_tasks(poller, [], None, None)) == []


def test_a_caller_that_stops_waiting_is_forgotten(backend: MemoryBackend, poller: ResultPoller) -> None:
    seen = threading.Event()
    ended = ended_tasks(poller, ["1"], 0.01, seen.set)
    with pytest.raises(TimeoutError):
        next(ended)
    assert seen.is_set()
    eventually(lambda: not poller.running, what="the thread without a caller ends")
