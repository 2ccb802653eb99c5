"""Values that hold the changes of one delivery, or of one call of a task.

A worker writes states, sends messages and acknowledges in one way only: it gives :class:`Commit` values to a channel,
through a :class:`~gearmesh.commits.flusher.Flusher`. A call of a task is a Commit that settles nothing.

No value here can be part of a reference cycle, so the garbage collector need not look at them (``gc=False``): a busy
worker makes hundreds of thousands a second.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gearmesh.wire.state import TaskState

__all__ = [
    "ChordCheck",
    "Commit",
    "Delivery",
    "Member",
    "Outcome",
    "Publish",
    "Settle",
    "Token",
    "Trigger",
    "heads_last",
]


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message as one consumer received it.

    Attributes:
        queue: the name of the queue that it came from.
        consumer: the name under which the consumer takes messages.
        id: a number that this consumer uses once. It is never the task's UUID: two deliveries may carry the same UUID.
        redelivered: how many consumers lost this message before; 0 for a first delivery. If
            ``Channel.counts_losses`` is False, a number above 0 says only that at least one did.
        crash_count: how many processes died while they ran this message and nothing else; a process that may have
            been killed for another reason counts a quarter. 0: a process died while it ran this message among others.
            None: no process is known to have died while it ran this message.
        overdue: the process that ran this message was killed because of the task's hard time limit, and the message
            has not been settled since.
        duplicate_attempt: 0 normally. Positive if the publisher does not know whether an earlier copy reached the
            broker (``redelivered`` is positive then, too): it counts how often consumers have received this possible
            duplicate. Settled ``tail``, the message returns with the next number.
        republished: the broker itself moved the message here when its delay was over. A RabbitMQ that was killed at
            that moment may have the message twice.
    """

    queue: str
    consumer: str
    id: int
    redelivered: int = 0
    crash_count: float | None = None
    overdue: bool = False
    duplicate_attempt: int = 0
    republished: bool = False

    @property
    def isolate(self) -> bool:
        """True if this message ran when a process died, so a worker runs it alone."""
        return self.crash_count is not None


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Says how a delivery is settled.

    Attributes:
        delivery: the delivery.
        how: one of

            ``ack``    the task ended: the message is deleted;
            ``keep``   the delivery stays unacked. The Commit happens only if it is still unacked;
            ``head``   the message returns to the head of its queue; messages that return there keep their order;
            ``tail``   the message returns to the tail of its queue, unchanged;
            ``park``   this worker has not registered the task. The message goes to the tail the first time; later it
            is parked, for 50 ms at first and twice as long each time, up to 30 s. It is dead-lettered once ``max_age``
            is over;
            ``later``  the message is parked until ``at_ns``, then it goes to the tail;
            ``dead``   the message is dead-lettered;
            ``leave``  only on SQS: the task failed, and the message stays as it is. It comes again when its visibility
            timeout is over, until the queue's redrive policy dead-letters it.
        reason: for ``dead`` the reason to keep with the dead letter; for ``park`` the name of the task.
        max_age: for ``park`` the seconds from the first such settling to the dead letter.
        at_ns: for ``later`` unix nanoseconds by the server's clock; a moment in the past means at once.
    """

    delivery: Delivery
    how: Literal["ack", "keep", "head", "tail", "park", "later", "dead", "leave"] = "ack"
    reason: str = ""
    max_age: float = 86400.0
    at_ns: int = 0


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Holds a message that a Commit sends, with its queue.

    Attributes:
        queue: the name of the queue, on RabbitMQ the routing key.
        body: the bytes of the signature.
        eta_ns: unix nanoseconds before which no consumer gets it; 0, or a moment in the past: at once.
        priority: from 0; a higher one goes first where the broker has priorities.
    """

    queue: str
    body: bytes
    eta_ns: int = 0
    priority: int = 0


class ChordCheck(msgspec.Struct, frozen=True, gc=False):
    """Asks a Commit of a chord's member to check, after its states are written, if the group is complete.

    Attributes:
        group_uuid: the group.
        count: how many members the group has.
    """

    group_uuid: str
    count: int


class Member(msgspec.Struct, frozen=True, gc=False):
    """Says that the first state of a Commit is the final state of a group's member.

    Only a backend that :class:`~gearmesh.interfaces.backend.CountsMembers` uses it.

    Attributes:
        group_uuid: the group.
        task_uuid: the member.
        again: an earlier delivery of this message may have counted the member.
    """

    group_uuid: str
    task_uuid: str
    again: bool = False


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """Fires a chord: the one Commit that wins the group's trigger writes ``states`` and sends ``publishes``.

    Attributes:
        group_uuid: the group.
        by: names the delivery that tries. A redelivery of the same message has the same name (the member's UUID), so it
            wins again.
        states: the callback's states.
        publishes: the callback's message.
    """

    group_uuid: str
    by: str
    states: tuple[TaskState, ...] = ()
    publishes: tuple[Publish, ...] = ()


class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Holds all changes of one delivery, or of one call.

    A channel that has enlisted the backend does all of it in one step or none of it. In other cases the flusher
    writes ``states`` first, then the channel sends ``publishes``, then it carries ``settle`` out.

    Attributes:
        states: task states to write, in order.
        publishes: messages to send, in order.
        settle: how the delivery is settled; None: nothing is settled.
        member: the group that the first of ``states`` belongs to, if that is final; None: no group.
        chord: the group to check once ``states`` are written; None: no chord. If it is complete the outcome is
            ``complete`` and nothing is sent or settled: the caller commits again with ``trigger`` in place of
            ``chord``.
        trigger: the chord to fire; None: no chord. All else in the Commit happens whether it wins the trigger or not.
        again: the task had ended before, so the messages may have been sent then.
        fresh: a stored final state of a task that this Commit sets to PENDING is left over from an earlier run under
            the same UUID.
        new_uuid: the Commit is PENDING and one message without a delay, for a task whose UUID was made for this call.
            So a stored state shows that the Commit was carried out before.
    """

    states: tuple[TaskState, ...] = ()
    publishes: tuple[Publish, ...] = ()
    settle: Settle | None = None
    member: Member | None = None
    chord: ChordCheck | None = None
    trigger: Trigger | None = None
    again: bool = False
    fresh: bool = False
    new_uuid: bool = False


def heads_last(commit: Commit) -> tuple[int, int]:
    """Return a sort key: messages that return to the head come last, the newest first, so the oldest ends in front."""
    settle = commit.settle
    return (1, -settle.delivery.id) if settle is not None and settle.how == "head" else (0, 0)


#: The outcome of a Commit:
#:
#: ``done``             everything happened, now or in an earlier attempt whose reply was lost;
#: ``lost``             the delivery is not held any more: its consumer lost it and nothing happened, or, if the same
#:                      Commit was sent before and its reply was lost, that earlier attempt has settled it;
#: ``complete``         the states are written, and the chord's group is complete: commit again with a ``trigger``;
#: ``retry_all``        nothing happened, because another worker has the chord's trigger or its group: commit again
#:                      after some ms;
#: ``retry_unwritten``  as ``retry_all``, but the states are written: commit again without them;
#: ``expired``          everything happened, and the message to park is a dead letter: it was older than ``max_age``.
Outcome = Literal["done", "lost", "complete", "retry_all", "retry_unwritten", "expired"]


class Token(msgspec.Struct, frozen=True, gc=False):
    """Makes a repeated batch of Commits happen once.

    Attributes:
        producer: a name that only this producer has.
        seq: the number of the batch; it grows by one a batch.
    """

    producer: str
    seq: int
