"""Celery's meta of a task, which is read beside the state that Go reads, on a backend in memory."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from celery import Celery

from gearmesh.celery import configure
from gearmesh.celery.setup import bridge_of
from gearmesh.wire.state import TaskState


def test_a_task_that_ends_between_the_reads_of_its_two_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of one backend are asked one after another: here for Celery's meta first."""
    url = f"memory://{uuid.uuid4().hex}"
    app = Celery("unit", set_as_current=False)
    configure(app, broker=url, backend=url)
    backend = bridge_of(app).backend
    read = backend.read
    ends = iter([lambda: app.backend.mark_as_failure("it", KeyError("a"))])

    def read_one_by_one(uuids: Sequence[str]) -> list[TaskState | None]:
        found = []
        for name in reversed(uuids):
            found += read([name])
            for end in ends:
                monkeypatch.setattr(backend, "read", read)
                end()
        return found[::-1]

    monkeypatch.setattr(backend, "read", read_one_by_one)
    assert isinstance(app.AsyncResult("it").result, KeyError)
    app.close()
