"""The first seam: what a transport's channel offers beyond kombu's own interface.

A transport is a kombu transport; ``kombu.Connection``, ``Consumer`` and ``Producer`` reach it.
The verbs here are extra methods of its channels. A channel belongs to one thread; only
:meth:`Channel.wake` may be called from another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle, Token

__all__ = [
    "Channel",
    "DeadLetter",
    "DelayedMessage",
    "DeletedCallback",
    "QueueCounts",
    "RateRequest",
    "RedeliversOnDisconnect",
    "SupportsInspection",
    "SupportsStreaming",
]

#: Content type of a kombu message whose body is a Machinery signature, sent and read raw.
SIGNATURE_CONTENT_TYPE = "application/x-machinery"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message set apart for good. Times are unix seconds by the server's clock."""

    queue: str
    body: bytes
    reason: str
    count: int
    first: float
    last: float

    @property
    def id(self) -> str:
        """The SHA-1 of its bytes: the same bytes dead twice are one dead letter."""
        return hashlib.sha1(self.body, usedforsecurity=False).hexdigest()


class DelayedMessage(msgspec.Struct, frozen=True):
    """A message waiting for its time: original bytes, and the unix nanoseconds it is due at."""

    body: bytes
    eta_ns: int


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages of a queue are where; None where the broker does not tell.

    Attributes:
        queue: its name.
        pending: messages that wait.
        held: messages that consumers have and have not settled.
        aside: parked messages, which return to the queue by themselves.
        dead: dead letters.
        consumers: consumers that are alive, as far as it is known. Only those that the broker knows of: a Go worker on
            Redis is not among them.
        silent: consumers that have missed heartbeats, or whose process is known to be dead. They are forgotten after a
            lease.
    """

    queue: str
    pending: int
    held: int | None = None
    aside: int | None = None
    dead: int | None = None
    consumers: int | None = None
    silent: int | None = None


class ParkedMessage(msgspec.Struct, frozen=True):
    """A message that no worker may start yet: its task is registered in none that got it, or has reached its rate.

    Attributes:
        body: the original bytes.
        until: unix time at which it returns to its queue; None: it has returned, and waits there for a worker.
        since: unix time at which a worker that has not registered its task first got it; None: it waits because of
            its task's rate.
        latest: ``until`` is the latest possible time; the broker tells no exact one.
    """

    body: bytes
    until: float | None
    since: float | None = None
    latest: bool = False


class RateRequest(NamedTuple):
    """A delivery whose task may run once in ``pause`` seconds, over all workers."""

    queue: str
    task: str
    pause: float
    body: bytes


class Channel(Protocol):
    """The batch verbs of a gearmesh channel.

    Messages delivered through kombu carry ``message.delivery``, a
    :class:`~gearmesh.interfaces.commit.Delivery`, and ``message.body``, the original bytes.
    """

    #: The name this channel consumes under; unique to one incarnation of one process.
    consumer: str
    #: False: the broker says only that a message was delivered before, not how often it was lost.
    counts_losses: bool
    #: False: :meth:`delayed` may refuse, since the broker alone knows what is delayed.
    lists_delayed: bool
    #: Dead letters that one call of :meth:`take_dead` should take: many where each call reads all of them.
    dead_batch: int

    def enlist(self, backend: Any) -> bool:
        """True if states of ``backend`` can be written by :meth:`commit` in the same step.

        From then on this channel's commits write their states, check and trigger chords themselves.
        A channel that answered False ignores ``states``, ``chord`` and ``trigger``.
        """

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        """Carry out Commits in order; one outcome each.

        Raises the transport's ``connection_errors`` when the outcome is unknown: repeat the same
        call (with the same ``token``), on this channel or another, and it happens once.
        """

    def heartbeat(self, consumer: str, queues: Sequence[str]) -> None:
        """Say that ``consumer`` lives. May be called by another process than the consumer's.

        Of one that consumes nothing (not yet, or no longer) it says nothing.
        """

    def watch(self, queues: Sequence[str]) -> float:
        """Put back what consumers held that have been silent for a lease; seconds until the next look, inf: never.

        For who does not consume: consuming channels watch anyway. A silence is counted from the first call on.
        """

    def held(self, consumer: str, queues: Sequence[str]) -> list[tuple[Delivery, bytes]]:
        """What ``consumer`` holds, with the original bytes; nothing changes."""

    def recover(
        self,
        consumer: str,
        queues: Sequence[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Put back, at the head, all that a consumer known to be dead held; how many there were.

        ``crashed``: the process died, so count it against the messages (``Delivery.redelivered`` of the next
        delivery). ``running``: the ids of those that ran when it died, which are isolated from now on
        (``Delivery.isolate``); None: not known. ``certain``: one of them brought it down. If not, or if they are not
        known, only those that were lost twice are isolated, and a death while one ran alone counts a quarter.
        """

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        """The first ``limit`` waiting messages of ``queue``, in order, without taking them."""

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        """The first ``limit`` delayed messages, soonest first."""

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        """The dead letters of ``queue``, oldest first."""

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        """For each: 0, it may run now; else the unix ns of a moment reserved for it.

        What comes back with the same bytes at its moment is admitted then.
        """

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        """Remove dead letters of ``queue`` by their ids; how many there were.

        ``retry``: they go to the tail of the queue, each once among all who try.
        """

    def wake(self) -> None:
        """End a ``drain_events`` that waits in another thread (it raises ``socket.timeout``)."""


@runtime_checkable
class RedeliversOnDisconnect(Protocol):
    """What a channel offers besides, where a delivery is lost with the connection that brought it.

    There a commit that is repeated on a new connection settles nothing: the delivery comes again, perhaps to another.
    """

    def lost(self, settle: Settle) -> bool:
        """True if the delivery is known to be somebody else's by now. Then nothing of it is ours any more."""

    def commit(
        self, commits: Sequence[Commit], *, token: Token | None = None, again: bool = False
    ) -> list[Outcome]:
        """As :meth:`Channel.commit`. ``again``: what is published may have been before, and is to be marked so."""

    def expire(self, ids: Iterable[int]) -> None:
        """Note down that a process was killed for these deliveries: who gets one next finds it overdue."""


@runtime_checkable
class SupportsStreaming(Protocol):
    """What a channel offers besides, where what was sent is confirmed some time later."""

    def stream(
        self,
        chunks: Iterable[Sequence[Commit]],
        token: Token,
        taken: Callable[[int], None],
        *,
        again: bool = False,
    ) -> None:
        """Carry out Commits that settle nothing, as :meth:`Channel.commit` does; one batch in several chunks.

        Args:
            chunks: the next one is asked for, and sent, while the broker has those before still to confirm. What it
                raises comes when these are.
            token: of the whole batch. It may be repeated under it with other chunks of the same Commits.
            taken: told, when this ends or raises, how many of the first Commits the broker is known to have taken.
                Each of them publishes one message.
            again: this is a repetition. What is not known to have been taken is sent so that its receiver can tell.
        """


#: Takes messages that were deleted.
DeletedCallback = Callable[[list[bytes]], None]


@runtime_checkable
class SupportsParkedListing(Protocol):
    """A channel that can list parked messages."""

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        """The first ``limit`` parked messages of ``queue``: those that return first at the front. Changes nothing.

        Behind them come those that have returned to the queue, as far as the channel can tell them from others.
        """


@runtime_checkable
class SupportsInspection(Protocol):
    """What a channel may do besides, for people: count what is in queues, and empty them."""

    def queues(self) -> list[str]:
        """The queues that have messages, dead letters or consumers, by name.

        Raises:
            GearmeshError: the broker does not list its queues; they have to be named.
        """

    def count(self, queue: str) -> QueueCounts:
        """How many messages of ``queue`` are where. Changes nothing; a queue that is not there has none."""

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete what waits in ``queue`` or is parked; how many there were. What consumers hold stays theirs.

        Args:
            gone: takes the messages that were deleted, in batches. None: they are not read, which is much faster.
        """

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete the delayed messages for ``queue``; how many there were. ``gone``: see :meth:`purge`."""
