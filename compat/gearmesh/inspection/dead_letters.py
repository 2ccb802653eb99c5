"""Reads all dead letters of a queue in parts, and writes new states for those that return to the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from gearmesh.app.app import App
from gearmesh.errors import RemoteProtocolError
from gearmesh.interfaces.transport import Channel, DeadLetter
from gearmesh.wire.codec import decode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import FAILURE, PENDING, TaskState

__all__ = ["all_dead", "begin_anew"]


def all_dead(channel: Channel, queue: str) -> Iterator[list[DeadLetter]]:
    """Yield all dead letters in parts. The caller removes each part before the next is read.

    A message that becomes a dead letter again meanwhile is not yielded twice.
    """
    seen: set[str] = set()
    while letters := [
        each for each in channel.dead_letters(queue, channel.dead_batch) if each.id not in seen
    ]:
        seen.update(letter.id for letter in letters)
        yield letters


def begin_anew(app: App, letters: Sequence[DeadLetter]) -> None:
    """Write PENDING over the stored FAILURE states of these tasks.

    If the worker that gets the message next is killed, the worker after it would take the FAILURE for the outcome of
    that delivery, and would not run the task.
    """
    sigs = {}
    for letter in letters:
        with suppress(RemoteProtocolError):
            sig = decode(letter.body)
            sigs[sig.UUID] = sig
    with app.reached_backend() as backend:
        if not backend.keeps:
            return
        created = format_ns(time.time_ns())
        backend.write(
            [
                TaskState(TaskUUID=uuid, TaskName=sigs[uuid].Name, State=PENDING, CreatedAt=created)
                for uuid, state in zip(sigs, backend.read(list(sigs)), strict=True)
                if state is not None and state.State == FAILURE
            ]
        )
