"""What one delivery, or one publish, changes: a value, so that it can happen all at once.

A worker writes states, sends messages and acknowledges in no other way than by handing
Commits to a transport's channel; a producer's publish is a Commit that settles nothing.

No value here can be part of a cycle, so the garbage collector need not look at them (``gc=False``): a busy worker
makes hundreds of thousands a second.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gearmesh.wire.state import TaskState

__all__ = ["ChordCheck", "Commit", "Delivery", "Member", "Outcome", "Publish", "Settle", "Token", "Trigger"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message as one consumer holds it.

    ``id`` is the consumer's fetch counter, never the task's UUID: two deliveries may carry one.
    ``redelivered`` counts the consumers that lost this message before; zero for a first delivery.
    ``crash_count`` counts the processes that died while they ran this message and nothing else; a process that may
    have been killed for another reason counts a quarter. Zero: a process died while it ran this message among others.
    None: no process is known to have died while it ran this message.
    ``overdue``: its process was killed since it ran into its hard time limit, and nobody has settled it yet.
    ``duplicate_attempt`` is 0 normally. It is positive if the publisher does not know whether an earlier copy reached
    the broker (``redelivered`` counts that, too), and tells how often consumers have received this possible duplicate:
    settled ``tail`` it comes with the next number.
    """

    queue: str
    consumer: str
    id: int
    redelivered: int = 0
    crash_count: float | None = None
    overdue: bool = False
    duplicate_attempt: int = 0

    @property
    def isolate(self) -> bool:
        """True if this message ran when a process died, so a worker runs it alone."""
        return self.crash_count is not None


class Settle(msgspec.Struct, frozen=True, gc=False):
    """What becomes of a delivery.

    ``ack``    it is done, the message is gone;
    ``keep``   it goes on being held; the commit happens only if it still is;
    ``head``   put back where it was, before all others (not started, or refused);
    ``tail``   put back behind all others, unchanged;
    ``park``   for a name not registered here: to the tail once at once, then parked for
               50 ms, doubling to 30 s, and after ``max_age`` seconds a dead letter; ``reason`` is
               that name;
    ``later``  to the tail at ``at_ns``, unix ns by the server's clock; nobody sees it until then;
    ``dead``   kept as a dead letter with ``reason``.
    """

    delivery: Delivery
    how: Literal["ack", "keep", "head", "tail", "park", "later", "dead"] = "ack"
    reason: str = ""
    max_age: float = 86400.0
    at_ns: int = 0


class Publish(msgspec.Struct, frozen=True, gc=False):
    """A message to send: ``body`` bytes to ``queue``, not before ``eta_ns`` (unix ns; 0: now)."""

    queue: str
    body: bytes
    eta_ns: int = 0
    priority: int = 0


class ChordCheck(msgspec.Struct, frozen=True, gc=False):
    """The commit belongs to a chord's member: after its states are written, look at the group."""

    group_uuid: str
    count: int


class Member(msgspec.Struct, frozen=True, gc=False):
    """The commit's first state is the final one of a member of this group: for backends that count those.

    ``again``: an earlier delivery of it may have been counted.
    """

    group_uuid: str
    task_uuid: str
    again: bool = False


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """Fires a chord: ``states`` are written and ``publishes`` sent only by who wins the group's trigger.

    ``by`` names the winner in a way that a redelivery of the same message repeats (the member's UUID).
    """

    group_uuid: str
    by: str
    states: tuple[TaskState, ...] = ()
    publishes: tuple[Publish, ...] = ()


class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything one delivery (or one publish) changes.

    Order where it cannot be atomic: ``states``, then ``publishes``, then ``settle``.

    ``member``: the group that the first of ``states`` belongs to, if it is final.
    ``chord``: check the group after writing the states. A complete group answers ``complete`` and sends and
    settles nothing: the caller then commits the same again with ``trigger`` in place of ``chord``.
    ``trigger``: fire the chord, once among all who try; everything else in the Commit happens in any case.
    ``again``: the task had ended before; what is sent now may have been sent then.
    ``fresh``: a result that is stored of what is to be PENDING is one of last time, under the same UUID.
    """

    states: tuple[TaskState, ...] = ()
    publishes: tuple[Publish, ...] = ()
    settle: Settle | None = None
    member: Member | None = None
    chord: ChordCheck | None = None
    trigger: Trigger | None = None
    again: bool = False
    fresh: bool = False


Outcome = Literal["done", "lost", "complete", "retry_all", "retry_unwritten", "expired"]
"""What became of a Commit.

``done``      everything happened (now, or in an earlier attempt whose reply was lost);
``lost``      the lease was gone, nothing happened;
``complete``  written but not settled: the chord's group is complete, trigger it;
``retry_all`` not done: another worker has the chord's trigger or its group in hand, commit it again in a few ms;
``retry_unwritten`` the same, but its states are written: commit the rest again;
``expired``   done, and what was to be parked is a dead letter, since it was older than ``max_age``.
"""


class Token(msgspec.Struct, frozen=True, gc=False):
    """Makes a repeated publish happen once: ``producer`` is unique, ``seq`` grows by one a batch."""

    producer: str
    seq: int
