"""A connection whose channel records its commits, and which a test can block or break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import kombu

from gearmesh.interfaces.commit import Commit, Outcome
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import TaskState

__all__ = ["Recorder", "without_record"]


def without_record(commit: Commit) -> tuple[TaskState, ...]:
    """The states of a commit that Go reads; a failure's record is its first one, and its only one of that kind."""
    (record, *states) = commit.states
    assert record.TaskUUID == failure_record(states[0].TaskUUID)
    assert not any(state.TaskUUID == record.TaskUUID for state in states)
    return tuple(states)


class Recorder:
    """Makes connections to a real broker and keeps every batch that goes through them.

    Attributes:
        batches: the commits of each flush, in order.
        gate: while it is cleared, no flush begins.
        trouble: called before a flush, ``after`` once it has acted; an exception of theirs is the broker's answer.
        opened: connections so far.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url
        self._options = options
        self.batches: list[Sequence[Commit]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.before: Callable[[Sequence[Commit]], object] = lambda commits: None
        self.after: Callable[[Sequence[Commit]], object] = lambda commits: None
        self.opened = 0

    def connect(self) -> kombu.Connection:
        """Return a connection that, like a worker's own, is not open yet."""
        self.opened += 1
        connection = open_connection(self._url, options=self._options)
        open_channel = connection.channel

        def channel() -> Any:
            made = open_channel()
            commit = made.commit

            def recorded(commits: Sequence[Commit], **kwargs: Any) -> list[Outcome]:
                self.waiting.set()
                assert self.gate.wait(20)
                self.waiting.clear()
                self.before(commits)
                outcomes: list[Outcome] = commit(commits, **kwargs)
                self.batches.append(commits)
                self.after(commits)
                return outcomes

            made.commit = recorded
            return made

        connection.channel = channel
        return connection

    @property
    def sizes(self) -> list[int]:
        """Commits in each flush."""
        return [len(batch) for batch in self.batches]

    def words(self, uuid: str) -> list[str]:
        """The states that were written for a task, in order."""
        return [
            state.State
            for batch in self.batches
            for commit in batch
            for state in commit.states
            if state.TaskUUID == uuid
        ]
