"""The interface of transports: the verbs that a gearmesh channel has beyond kombu's own.

A transport is a kombu transport, so ``kombu.Connection``, ``Consumer`` and ``Producer`` work with it. kombu's interface
brings messages to a consumer's callback; gearmesh does everything else by the methods of :class:`Channel`. A channel
belongs to one thread; only :meth:`Channel.wake` may be called from another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from gearmesh.interfaces.commit import Commit, Delivery, Outcome, Settle, Token

__all__ = [
    "OVERDUE_LEASE_SHARE",
    "Channel",
    "ConsumerReport",
    "CountsReaped",
    "DeadLetter",
    "DelayedMessage",
    "DeletedCallback",
    "ParkedMessage",
    "QueueCounts",
    "RateRequest",
    "RedeliversOnDisconnect",
    "SupportsConsumerListing",
    "SupportsInspection",
    "SupportsParkedListing",
    "SupportsStreaming",
    "TellsLosses",
]

#: Content type of a kombu message whose body is a Machinery signature, sent and read as raw bytes.
SIGNATURE_CONTENT_TYPE = "application/x-machinery"

#: Part of a lease after which a heartbeat is overdue: a consumer sends three of them in a lease.
OVERDUE_LEASE_SHARE = 0.4

#: Takes the bytes of messages that were deleted.
DeletedCallback = Callable[[list[bytes]], None]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is kept with a reason and does not run again unless an operator says so.

    Attributes:
        queue: the queue that it was taken from.
        body: the original bytes.
        reason: why it was dead-lettered the last time.
        count: how often these bytes were dead-lettered; 1 or more.
        first: unix seconds of the first time, by the server's clock.
        last: unix seconds of the last time, by the server's clock.
    """

    queue: str
    body: bytes
    reason: str
    count: int
    first: float
    last: float

    @property
    def id(self) -> str:
        """The SHA-1 of the bytes, in hex: the same bytes dead-lettered twice are one dead letter."""
        return hashlib.sha1(self.body, usedforsecurity=False).hexdigest()


class DelayedMessage(msgspec.Struct, frozen=True):
    """A message that waits until its ETA.

    Attributes:
        body: the original bytes.
        eta_ns: unix nanoseconds at which it is due.
    """

    body: bytes
    eta_ns: int


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts the messages of a queue by place; None where the broker does not tell.

    Attributes:
        queue: its name.
        pending: messages that wait.
        held: unacked deliveries.
        parked: messages whose task is not registered with a worker, or may not start yet.
        dead: dead letters.
        delayed: messages that wait for their ETA, if the broker counts them for each queue. A broker that lists delayed
            messages (``lists_delayed``) does not.
        consumers: consumers that live, as far as the broker knows. On Redis a Go worker is not among them.
        silent: consumers that have missed heartbeats, or whose process is known to be dead. The reaper removes them
            after a lease.
    """

    queue: str
    pending: int | None
    held: int | None = None
    parked: int | None = None
    dead: int | None = None
    delayed: int | None = None
    consumers: int | None = None
    silent: int | None = None


class ParkedMessage(msgspec.Struct, frozen=True):
    """A parked message: no worker that got it has registered its task, or the task's rate is used up.

    Attributes:
        body: the original bytes.
        until: unix seconds at which it returns to its queue; None: it has returned, and waits for a worker there.
        since: unix seconds at which a worker that has not registered its task first got it; None: its task's rate is
            used up.
        latest: True if ``until`` is only the latest possible time, since the broker tells no exact one.
    """

    body: bytes
    until: float | None
    since: float | None = None
    latest: bool = False


class ConsumerReport(msgspec.Struct, frozen=True):
    """Holds the unacked deliveries of one consumer of a queue, and the time since its last heartbeat.

    Attributes:
        name: the consumer's name.
        bodies: the original bytes of its unacked deliveries. The broker may have sent it some that it has not read.
        silent_s: seconds since its last heartbeat, by the server's clock; infinity: it is known to be dead; None: it
            has sent none yet.
    """

    name: str
    bodies: list[bytes]
    silent_s: float | None

    def is_silent(self, lease: float) -> bool:
        """True if it has missed a heartbeat, or is known to be dead. ``lease``: seconds."""
        return (self.silent_s or 0.0) > lease * OVERDUE_LEASE_SHARE


class RateRequest(NamedTuple):
    """Asks for a moment at which the task of a delivery may run.

    Attributes:
        queue: the queue of the delivery; each queue has rates of its own.
        task: the task's name.
        pause: seconds between two runs of the task; above 0. The rate holds for all workers of the queue if the broker
            can count (Redis), else for this process.
        body: the bytes of the message; they identify its reservation.
    """

    queue: str
    task: str
    pause: float
    body: bytes


class Channel(Protocol):
    """The verbs that a channel of every transport has.

    Messages that kombu delivers carry ``message.delivery``, a :class:`~gearmesh.interfaces.commit.Delivery`, and
    ``message.body``, the original bytes. With ``basic_consume(…, bare=True)`` a channel may deliver messages that have
    nothing else, since kombu's messages take long to make.

    All methods raise the transport's ``connection_errors`` if the broker cannot be reached; all but :meth:`wake` may
    then be called again.
    """

    #: The name under which this channel takes messages; only one run of one process ever uses it.
    consumer: str
    #: False: the broker tells only that a message was redelivered, not how many consumers lost it.
    counts_losses: bool
    #: False: :meth:`delayed` may raise GearmeshError, since the broker does not list delayed messages.
    lists_delayed: bool
    #: False: :meth:`pending` raises GearmeshError, since the broker shows no waiting message without delivering it.
    lists_pending: bool
    #: False: messages may be delivered in another order than that in which they were sent or returned.
    keeps_order: bool
    #: False: :meth:`recover` notes nothing about the messages that ran; the broker itself counts deliveries.
    records_crashes: bool
    #: False: the broker does not tell which messages it has taken, so a repeated :meth:`commit` may publish them again.
    publishes_once: bool
    #: The number of dead letters that one call of :meth:`take_dead` should take. It is large where each call reads
    #: all dead letters.
    dead_batch: int

    def enlist(self, backend: Any) -> bool:
        """Enlist a backend: True if :meth:`commit` can write its states in the same step.

        From then on this channel's commits write states, check chords and trigger them. A channel that returned
        False, or was never asked, ignores ``states``, ``chord`` and ``trigger``.
        """

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        """Carry Commits out, in order.

        Args:
            commits: any number, none included.
            token: makes a repeated publish happen once if the channel :attr:`publishes_once`. None: a repetition
                publishes again.

        Returns one outcome for each Commit.

        Raises the transport's ``connection_errors`` if the outcome is not known: repeat the same call, with the same
        ``token``, on this channel or another.
        """

    def heartbeat(self, consumer: str, queues: Sequence[str]) -> None:
        """Show that ``consumer`` lives; a process other than the consumer's may do that for it.

        Has no effect for a consumer that is not consuming from these queues.
        """

    def reap(self, queues: Sequence[str]) -> float:
        """Recover the deliveries of consumers that sent no heartbeat for a lease.

        For channels that do not consume; consuming channels reap on their own. Silence is measured from the first
        call, by the clock of this process.

        Returns the seconds until the next call may find a dead consumer; infinity: this broker finds them itself.
        """

    def held(self, consumer: str, queues: Sequence[str]) -> list[tuple[Delivery, bytes]]:
        """List the unacked deliveries of ``consumer``, with the original bytes; changes nothing."""

    def recover(
        self,
        consumer: str,
        queues: Sequence[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        """Return all unacked deliveries of a dead consumer to the heads of their queues.

        Args:
            consumer: the consumer. If it lives after all, its later Commits are ``lost``.
            queues: the queues to look at.
            crashed: the process died, so the loss counts against the messages (``Delivery.redelivered``).
            running: ids of the deliveries that ran when it died: these messages are isolated from now on
                (``Delivery.isolate``). None: not known.
            certain: one of these deliveries caused the death. If not, or if ``running`` is None, only messages that
                were lost twice are isolated, and a death while one ran alone counts a quarter.

        Returns how many deliveries there were. A repetition finds none.
        """

    def pending(self, queue: str, limit: int = 1000) -> list[bytes]:
        """Read the first ``limit`` waiting messages of ``queue``, in order, without taking them.

        Raises:
            GearmeshError: the broker shows no message without delivering it (``lists_pending`` is False).
        """

    def delayed(self, limit: int = 1000) -> list[DelayedMessage]:
        """Read the first ``limit`` delayed messages, the soonest first.

        Raises:
            GearmeshError: the broker does not list them (``lists_delayed`` is False).
        """

    def dead_letters(self, queue: str, limit: int = 1000) -> list[DeadLetter]:
        """Read the first ``limit`` dead letters of ``queue``, the oldest first."""

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        """Reserve a moment for each of several deliveries whose tasks have a rate.

        Returns for each 0 if its task may run now; else the unix nanoseconds of the reserved moment. A message that
        returns with the same bytes at that moment, or later, gets 0 then.
        """

    def take_dead(self, queue: str, ids: Sequence[str], *, retry: bool) -> int:
        """Remove dead letters of ``queue``.

        Args:
            queue: the queue.
            ids: ids of dead letters; unknown ones are ignored.
            retry: put their messages at the tail of the queue, each once even if several processes try.

        Returns how many were removed.
        """

    def wake(self) -> None:
        """End a ``drain_events`` that waits in another thread; it raises ``TimeoutError`` there."""


@runtime_checkable
class CountsReaped(Protocol):
    """A channel that counts the deliveries that its reaper returns (Redis); other brokers return them by themselves."""

    def take_reaped(self) -> dict[str, int]:
        """Return the number of deliveries, by queue, that :meth:`Channel.reap` has recovered since the last call."""


@runtime_checkable
class TellsLosses(Protocol):
    """A channel that knows without asking the broker if a delivery is lost (RabbitMQ, SQS)."""

    def is_lost(self, settle: Settle) -> bool:
        """True if the delivery is known to be lost, so nothing of its Commit may be written."""


@runtime_checkable
class RedeliversOnDisconnect(Protocol):
    """A channel whose broker gives an unacked delivery to another consumer when the connection ends (RabbitMQ).

    Once a delivery's own connection has ended, no Commit can settle it: the broker redelivers the message, perhaps to
    another consumer. A repeated Commit publishes its messages again, since the broker does not tell if it has them.
    """

    def is_lost(self, settle: Settle) -> bool:
        """True if the delivery is known to be lost, so nothing of its Commit may be written."""

    def commit(
        self, commits: Sequence[Commit], *, token: Token | None = None, again: bool = False
    ) -> list[Outcome]:
        """As :meth:`Channel.commit`. ``again``: an earlier attempt may have published; mark possible duplicates."""

    def mark_overdue(self, ids: Iterable[int]) -> None:
        """Record that a process was killed because of these deliveries' hard time limits.

        The next delivery of each message has ``Delivery.overdue``.
        """


@runtime_checkable
class SupportsStreaming(Protocol):
    """A channel that sends the next publishes before the broker has confirmed the earlier ones (RabbitMQ)."""

    def stream(
        self,
        chunks: Iterable[Sequence[Commit]],
        sent: Callable[[Collection[int]], None],
        *,
        again: bool = False,
        waits: bool = True,
    ) -> None:
        """Carry out one batch of Commits that settle nothing, in several chunks.

        Args:
            chunks: parts of the batch. The channel asks for the next one, and sends it, while confirms of the earlier
                ones are still to come. An error that the iterable raises is raised once these are confirmed.
            sent: called when the stream ends or raises, with the places of the Commits that the broker has confirmed,
                counted through all chunks that the channel has asked for. Each Commit publishes one message.
            again: this is a repetition: the messages are marked as possible duplicates. So are those of a Commit whose
                own ``again`` is set.
            waits: messages that a queue refuses are sent again for a while. False raises PublishError at once.

        Raises:
            PublishError: a queue refuses messages. It has a ``__cause__`` if RabbitMQ may have taken some without
                confirming them.

        Raises the transport's ``connection_errors``, after ``sent`` was called.
        """


@runtime_checkable
class SupportsParkedListing(Protocol):
    """A channel that lists parked messages."""

    def parked(self, queue: str, limit: int) -> list[ParkedMessage]:
        """Read the first ``limit`` parked messages of ``queue``, those that return first at the front.

        Behind them come messages that have returned and wait in the queue, as far as the channel can tell them from
        others. Changes nothing.
        """


@runtime_checkable
class SupportsConsumerListing(Protocol):
    """A channel that lists consumers and their unacked deliveries (Redis)."""

    def consumers(self, queue: str) -> list[ConsumerReport]:
        """List the consumers of ``queue``, by name. Changes nothing."""


@runtime_checkable
class SupportsInspection(Protocol):
    """A channel that counts the messages of queues and purges them, for people."""

    def queues(self) -> list[str]:
        """List the queues that have messages, dead letters or consumers, sorted by name.

        Raises:
            GearmeshError: the broker does not list its queues, so they have to be named.
        """

    def count(self, queue: str) -> QueueCounts:
        """Count the messages of ``queue`` by place. Changes nothing; a queue that does not exist has none."""

    def purge(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete the waiting messages of ``queue``, and the parked ones if the channel lists them; unacked ones stay.

        A purge deletes the messages that are there when it begins, and ends even if others send new ones all the time.
        It may delete some of the new ones.

        Args:
            queue: the queue.
            gone: takes the deleted messages, in batches. None: they are not read, which is much faster.

        Returns how many messages were deleted.
        """

    def purge_delayed(self, queue: str, gone: DeletedCallback | None = None) -> int:
        """Delete the delayed messages for ``queue``; see :meth:`purge`.

        Raises:
            GearmeshError: the broker does not list delayed messages.
        """
