"""The second seam: where states and group metas live.

Any backend goes with any broker. Every method may be called from several threads at once, and
after a fork. Connection trouble is the backend's ``connection_errors`` (a tuple of exception
classes): the caller waits and repeats; every method here may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from gearmesh.wire.state import GroupMeta, TaskState

__all__ = [
    "Backend",
    "CountsMembers",
    "SupportsClaims",
    "SupportsConditionalWrite",
    "SupportsProgress",
    "SupportsRevocation",
    "SupportsSearch",
]


class Backend(Protocol):
    """What every result backend does."""

    #: Seconds a state or a group meta lives after its last write (Machinery's ResultsExpireIn).
    expire: int
    #: Exceptions that mean "the server could not be reached; it may be tried again".
    connection_errors: tuple[type[BaseException], ...]
    #: False for ``null``: nothing can be read back, waiting is an error.
    keeps: bool

    def write(self, states: Sequence[TaskState]) -> None:
        """Store states, in order.

        PENDING is stored as it is. Every other state takes CreatedAt and TaskName from what is
        stored where Machinery does so on this backend. RECEIVED and STARTED never replace SUCCESS
        or FAILURE: they are dropped.
        """

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """The states of ``uuids``, in that order; None where there is none (any more)."""

    def create_group(self, meta: GroupMeta) -> None:
        """Store a new group's meta."""

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        """A group's meta, or None."""

    def finished(self, meta: GroupMeta) -> bool:
        """True if every member of the group is SUCCESS or FAILURE.

        Costs O(1) a call amortised over a group's life, not O(members).
        """

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Take the group's chord trigger: True for exactly one ``by`` in the group's life.

        The same ``by`` (a name of the delivery that triggers) gets True again, so that a
        redelivery can finish what it began. Raises ChordBusy while another holder (Go's mutex)
        is at it; BackendError if there is no such group.
        """

    def touch(self, uuids: Sequence[str]) -> None:
        """Let states and metas live ``expire`` seconds from now, where they exist."""

    def purge(self, uuids: Sequence[str]) -> None:
        """Forget states and group metas."""

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None] | None:
        """Call ``wake(uuids)`` from a thread of the backend's when states became final.

        Only what gearmesh workers commit is announced (Go never notifies), so it is a shortcut
        and never the only way to learn. Returns a function that ends the watch, or None where the
        backend cannot do it.
        """

    def close(self) -> None:
        """Release connections. Closing twice is fine."""


@runtime_checkable
class CountsMembers(Protocol):
    """What a backend does that has no list of a group's members (AMQP): it collects their final states, and counts.

    The committer's order for a member that has ended: :meth:`counted`, :meth:`Backend.write`, and then :meth:`gather`
    if it belongs to a chord, else :meth:`count`; and for the one who gathered: :meth:`gathered`,
    :meth:`Backend.trigger`, sending the callback, :meth:`release_group`.
    """

    def counted(self, group_uuid: str, task_uuid: str, again: bool, members: int = 0) -> bool:
        """True if the member's final state is in its group already.

        ``again``: an earlier delivery of it may have put it there. Else nothing is asked, unless an earlier
        :meth:`count` of this process broke off. ``members``: how many the group has; 0: it is not known. Raises
        ChordBusy while somebody else looks, or may be about to take the states of all: nothing was done.
        """

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        """Put final states into their groups, by the groups' UUIDs."""

    def gather(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        """Take the states of all ``members`` in hand for the member ``by``; True for one at most at a time.

        ``own``: its final state, if that is not counted yet: it is now, or is taken in hand with the others.

        False where some are missing, or another member has them in hand: it is not settled before the chord
        has fired, so somebody will come again if it fails.

        Raises ChordBusy where a worker of Go's may be about to take them; where they were in hand, and the server
        has not put them back yet; and, with ``again``, where another has them in hand, which may be ``by`` itself
        in a worker that was lost. ``own`` is counted then (or remembered): ask again soon, without it.
        """

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        """What ``by`` has in hand, in the members' order where it is known; None: it has nothing (any more)."""

    def release_group(self, group_uuid: str, by: str, fired: bool) -> None:
        """Give up what ``by`` has in hand: forget the group if the chord has ``fired``, else put it back."""


@runtime_checkable
class SupportsProgress(Protocol):
    """What a backend may do besides: keep how far tasks say they are, out of Go's sight."""

    def report(self, bodies: Mapping[str, bytes]) -> None:
        """Store a report for each UUID, for ``expire`` seconds, over the one before."""

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        """The last reports of ``uuids``, in that order; None where there is none (any more)."""


@runtime_checkable
class SupportsSearch(Protocol):
    """A backend that can look up UUIDs by their first characters, for people who type them."""

    def begin_with(self, beginning: str, limit: int) -> list[str]:
        """Up to ``limit`` UUIDs of stored states and groups that begin with this text, in any order.

        It may look at every key of the server: it blocks nobody, and takes seconds for millions of states.
        """


@runtime_checkable
class SupportsRevocation(Protocol):
    """What a backend may do besides: remember which tasks are revoked, and tell workers."""

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        """Remember these for ``seconds`` from now (or longer, if they were already), and announce it."""

    def revoked(self) -> dict[str, float]:
        """All that are revoked now: UUID to seconds for which it still counts."""

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        """Call ``wake`` with what is revoked from now on, as :meth:`revoked` tells it.

        From a thread of the backend's. After the connection was lost (and at first) it is told of all that are
        revoked, so that nothing is missed. Returns a function that ends the watch.
        """


@runtime_checkable
class SupportsConditionalWrite(Protocol):
    """What a backend may do besides: compare and store in one step."""

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        """Store FAILURE states as :meth:`Backend.write` does, but none over a SUCCESS, whoever stores that just now."""


@runtime_checkable
class SupportsClaims(Protocol):
    """What a backend may do besides: give a name to one holder at a time."""

    def claim(self, key: str, holder: str, seconds: float) -> str:
        """Give ``key`` to ``holder`` for ``seconds`` if nobody has it; who has it now."""

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        """For each (key, holder): take the key from the holder, if it is the one that has it."""
