"""Callers that publish at the same moment share a round trip."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeAlias

from msgspec.structs import replace

from gearmesh.app.pending_call import PendingCall, finish
from gearmesh.batching import divided
from gearmesh.interfaces.commit import Commit

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_MESSAGES",
    "MAX_COMBINED_BYTES",
    "Combiner",
    "Place",
    "body_bytes",
    "place_of",
]

log = logging.getLogger("gearmesh.publisher")

#: Messages, and bytes of them, that go in one batch.
MAX_BATCH_MESSAGES, MAX_BATCH_BYTES = 256, 500_000
#: Bytes of a message that may go together with those of other callers; a larger one would hold them up.
MAX_COMBINED_BYTES: Final = 1 << 16
#: Queues to which calls are sent together at the same time; others wait for a free thread.
MAX_SENDERS: Final = 8

#: A queue, and True for its delayed messages. All calls of a batch are for one place: whatever befalls it (it is full,
#: of another type, or its node of a cluster is away) befalls its own callers only, and one broker takes all or nothing.
Place: TypeAlias = tuple[str, bool]


class Combiner:
    """Sends the calls that come while others are sent to the same place, together in the next batch.

    A thread that finds no other caller sends its call itself, at once. If there are others, a thread of the combiner
    sends all waiting calls, and repeats that until no call waits any more. No timer is used, so a lone call is never
    delayed. Coroutines never block: their calls always go through the combiner's threads.

    Make one a process (see :class:`~gearmesh.process_local.ProcessLocal`).

    Args:
        deliver: sends a batch, and sets ``error`` or ``alone`` of the calls that were not sent. Its second argument
            takes the calls out of the queue that wait since before a monotonic time, for their time may be over, too.
    """

    def __init__(
        self, deliver: Callable[[Sequence[PendingCall], Callable[[float], Sequence[PendingCall]]], None]
    ) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        #: The calls that wait, by place; there is a thread for each place that is here.
        self._waiting: dict[Place, list[PendingCall]] = {}
        #: The places to which a thread sends its own call.
        self._lone: dict[Place, object] = {}
        self._threads = ThreadPoolExecutor(MAX_SENDERS, "gearmesh-publish")

    def enter(self, place: Place, caller: object) -> bool:
        """Return True if ``caller`` is the only one at ``place``, and may send its call itself; then :meth:`leave`."""
        if place in self._waiting:
            return False
        return self._lone.setdefault(place, caller) is caller

    def leave(self, place: Place, caller: object) -> None:
        """Note that ``caller``, which :meth:`enter` has let in, has sent its call."""
        if self._lone.get(place) is caller:
            self._lone.pop(place, None)

    def add(self, place: Place, call: PendingCall) -> None:
        """Have a call sent, and its caller woken then."""
        with self._lock:
            waiting = self._waiting.get(place)
            if waiting is not None:
                waiting.append(call)
                return
            self._waiting[place] = [call]
        try:
            self._threads.submit(self._drain, place)
        except RuntimeError:  # the interpreter ends, or the system has no thread left
            self._drain(place)

    def close(self) -> None:
        """Let the threads end when all is sent that they were given."""
        self._threads.shutdown(wait=False)

    def _overdue(self, place: Place, before: float) -> list[PendingCall]:
        """Take the calls that wait for ``place`` since before this monotonic time."""
        with self._lock:
            waiting = self._waiting.get(place, [])
            late = [call for call in waiting if call.began <= before]
            waiting[:] = [call for call in waiting if call.began > before]
        return late

    def _drain(self, place: Place) -> None:
        while batch := self._next(place):
            try:
                self._deliver(batch, partial(self._overdue, place))
            except Exception:  # unforeseen: each caller is to meet it by itself, and none to wait for ever
                log.exception("calls that came together could not be sent together")
                for call in batch:
                    if not call.finished:
                        call.alone = replace(call.commit, again=True)
            finish(batch)

    def _next(self, place: Place) -> Sequence[PendingCall]:
        """Take the next batch. If no call waits, the place is free again, and the thread that asked must end."""
        with self._lock:
            waiting = [call for call in self._waiting.get(place, ()) if not call.withdrawn]
            if not waiting:
                self._waiting.pop(place, None)
                self._lone.pop(place, None)  # of a thread that a time limit has ended between two lines
                return ()
            batch = next(divided(waiting, _size, max_items=MAX_BATCH_MESSAGES, max_bytes=MAX_BATCH_BYTES))
            self._waiting[place] = waiting[len(batch) :]
            return batch


def place_of(commit: Commit) -> Place | None:
    """Return the place of a call that may be sent together with others; None: it has to be sent alone."""
    if len(commit.publishes) != 1 or commit.settle is not None:
        return None
    (publish,) = commit.publishes
    return None if len(publish.body) > MAX_COMBINED_BYTES else (publish.queue, publish.eta_ns > 0)


def body_bytes(commit: Commit) -> int:
    """Count the bytes of a Commit's messages."""
    total = 0
    for publish in commit.publishes:
        total += len(publish.body)
    return total


def _size(call: PendingCall) -> int:
    return body_bytes(call.commit)
