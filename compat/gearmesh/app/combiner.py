"""Combines the calls that callers publish at the same moment into one round trip."""

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
#: A message of up to this many bytes may go in one batch with those of other callers; a larger one would delay them.
MAX_COMBINED_BYTES: Final = 1 << 16
#: Queues to which the combiner sends at the same time; others wait for a free thread.
MAX_SENDERS: Final = 8

#: A queue, and True for its delayed messages. All calls of a batch are for one place. So if a queue is full, if its key
#: has another type, or if its node of a cluster is unreachable, only the callers of this queue get the error, and one
#: broker takes all or nothing.
Place: TypeAlias = tuple[str, bool]


class Combiner:
    """Collects the calls that arrive while others are being sent to the same place, and sends them in the next batch.

    A thread that finds no other caller sends its call itself, at once. If there are others, a thread of the combiner
    sends all waiting calls, and repeats that until no call waits any more. No timer is used, so a lone call is never
    delayed. Coroutines never block: their calls always go through the combiner's threads.

    Make one for each process (see :class:`~gearmesh.process_local.ProcessLocal`).

    Args:
        deliver: sends a batch, and sets ``error`` or ``alone`` of the calls that were not sent. Its second argument is
            a function that takes out the waiting calls made before a monotonic time, as their time may be over, too.
    """

    def __init__(
        self, deliver: Callable[[Sequence[PendingCall], Callable[[float], Sequence[PendingCall]]], None]
    ) -> None:
        self._deliver = deliver
        self._lock = threading.Lock()
        #: The calls that wait, by place. A thread works for each place in this dict.
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
        """Send a call with the next batch, and then wake its caller."""
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
        """Let the threads end when they have sent all calls."""
        self._threads.shutdown(wait=False)

    def _overdue(self, place: Place, before: float) -> list[PendingCall]:
        """Take out the calls that wait for ``place`` and were made before this monotonic time."""
        with self._lock:
            waiting = self._waiting.get(place, [])
            late = [call for call in waiting if call.began <= before]
            waiting[:] = [call for call in waiting if call.began > before]
        return late

    def _drain(self, place: Place) -> None:
        while batch := self._next(place):
            try:
                self._deliver(batch, partial(self._overdue, place))
            except Exception:  # unforeseen: each caller must send its own call, and none may wait without end
                log.exception("calls that came together could not be sent together")
                for call in batch:
                    if not call.finished:
                        call.alone = replace(call.commit, again=True)
            finish(batch)

    def _next(self, place: Place) -> Sequence[PendingCall]:
        """Take the next batch. If no call waits, the place is free again, and the calling thread must end."""
        with self._lock:
            waiting = [call for call in self._waiting.get(place, ()) if not call.withdrawn]
            if not waiting:
                self._waiting.pop(place, None)
                self._lone.pop(place, None)  # left by a thread that a time limit ended before leave()
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
