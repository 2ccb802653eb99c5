"""The interface of result backends: a backend keeps task states and group metas.

Any backend goes with any broker. All methods may be called from several threads at once, and in a forked child. If the
server cannot be reached they raise one of the backend's ``connection_errors``; the caller waits and repeats the call,
so each method must do no harm when it is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from gearmesh.wire.state import GroupMeta, TaskState

__all__ = [
    "Backend",
    "CountsMembers",
    "PaidByRead",
    "ReadsWhereItHears",
    "SupportsClaims",
    "SupportsConditionalWrite",
    "SupportsProgress",
    "SupportsRevocation",
    "SupportsSearch",
    "Wake",
]

#: A function that the backend calls when tasks have ended. Its arguments: the UUIDs of the tasks that have succeeded;
#: the UUIDs of those that have failed; the states that the backend has received already. Read the other states.
Wake = Callable[[Sequence[str], Sequence[str], Sequence[TaskState]], None]


class Backend(Protocol):
    """The methods that every result backend has."""

    #: Seconds for which a state or a group meta lives after its last write (Machinery's ResultsExpireIn); 1 or more.
    expire: int
    #: Exceptions that mean "the server cannot be reached; repeat the call later".
    connection_errors: tuple[type[BaseException], ...]
    #: False for ``null``: nothing can be read back, and to wait for a result is an error.
    keeps: bool

    def write(self, states: Sequence[TaskState]) -> None:
        """Store states: those of one task in order, and a task's record before its state.

        (:func:`gearmesh.backends.write_order.records_first` is for backends that store the rest in any order.)

        PENDING is stored as it is. All other states take CreatedAt and TaskName from the stored state, if Machinery
        does so on this backend. RECEIVED and STARTED never replace SUCCESS or FAILURE: they are dropped.

        Raises:
            Unstorable: the server refuses one of the states. The others are stored, or will be once the caller writes
                them again without it.
        """

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Read the states of ``uuids``, in that order; None for one that does not exist or has expired."""

    def create_group(self, meta: GroupMeta) -> None:
        """Store the meta of a new group."""

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        """Read a group's meta; None if it does not exist or has expired."""

    def finished(self, meta: GroupMeta) -> bool:
        """True if every member of the group is SUCCESS or FAILURE.

        A call costs O(1), amortised over the group's life, and not O(members).
        """

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Take the group's chord trigger: True for exactly one ``by`` in the group's life.

        Args:
            group_uuid: the group.
            by: names the delivery that triggers. The same ``by`` gets True again, so a redelivery can finish the work.

        Raises:
            ChordBusy: another holder, such as Go's mutex, triggers just now; repeat the call in some ms.
            BackendError: the group does not exist.
        """

    def touch(self, uuids: Sequence[str]) -> None:
        """Let those of these states and metas that exist live ``expire`` seconds from now."""

    def purge(self, uuids: Sequence[str]) -> None:
        """Delete the states, the group metas and all else that is kept under ``uuids``."""

    def watch(self, wake: Wake) -> Callable[[], None] | None:
        """Announce tasks whose states became final: call ``wake(succeeded, failed, states)`` from one of the backend's
        threads.

        Only states that gearmesh's workers commit are announced (Go never notifies), so an announcement is a shortcut
        that may be missed.

        Returns a function that ends the watch; None if this backend announces nothing.
        """

    def close(self) -> None:
        """Release connections. A second call does nothing."""


@runtime_checkable
class CountsMembers(Protocol):
    """A backend without a list of a group's members (RabbitMQ's): it collects their final states and counts them.

    The flusher calls these methods for a member that has ended: :meth:`counted`, :meth:`Backend.write`, and then
    :meth:`gather` if the group is a chord, else :meth:`count`. The one member that gathered goes on with
    :meth:`gathered`, :meth:`Backend.trigger`, the callback's publish and :meth:`release_group`.
    """

    def counted(self, group_uuid: str, task_uuid: str, again: bool, members: int = 0) -> bool:
        """True if the member's final state is in its group already.

        Args:
            group_uuid: the group.
            task_uuid: the member.
            again: an earlier delivery of the member may have put its state there. If False, the server is asked only
                if an earlier :meth:`count` of this process broke off.
            members: how many the group has; 0: not known.

        Raises:
            ChordBusy: another caller reads the group's states, or may be about to claim them. Nothing was done.
        """

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        """Put final states into their groups, given as (group UUID, state)."""

    def gather(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        """Claim the states of all members for the member ``by``; True for at most one member at a time.

        Args:
            group_uuid: the group.
            members: how many it has.
            by: the member that ended.
            again: an earlier delivery of ``by`` may have claimed them.
            own: the final state of ``by``, if it is not counted yet: it is counted now, or claimed with the others.

        Returns False if some states are missing, or if another member has the claim. The delivery of that member is
        settled after the chord has fired; if the member fails before, its redelivery tries again.

        Raises:
            ChordBusy: repeat the call soon, without ``own``, which is counted or remembered now. Either a Go worker may
                be about to claim the group, or the states of an earlier claim are not back in the server yet, or, with
                ``again``, another member has the claim, which may be ``by`` itself in a worker that was lost.
        """

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        """Return the states that ``by`` has claimed, in the members' order if it is known; None: it has no claim."""

    def release_group(self, group_uuid: str, by: str, fired: bool) -> None:
        """End the claim of ``by``: delete the group if the chord has ``fired``, else put the states back."""


@runtime_checkable
class PaidByRead(Protocol):
    """A backend whose reads are paid one by one (DynamoDB's), so that waiting for results must not ask too often."""

    #: The smallest number of seconds between two reads of one waiting caller, unless the caller chose an interval.
    min_poll_interval_s: float


@runtime_checkable
class ReadsWhereItHears(Protocol):
    """A backend whose ``read`` may be called in the thread that calls a watch's ``wake`` (Redis').

    It announces a state after it has stored the state.
    """

    #: True.
    reads_where_it_hears: bool


@runtime_checkable
class SupportsProgress(Protocol):
    """A backend that keeps progress reports of tasks, under names that Go does not read."""

    def report(self, bodies: Mapping[str, bytes]) -> None:
        """Store a report for each UUID in place of the one before, for ``expire`` seconds."""

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        """Read the last reports of ``uuids``, in that order; None for one that does not exist or has expired."""


@runtime_checkable
class SupportsSearch(Protocol):
    """A backend that finds UUIDs by their first characters, for people who type them."""

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        """List up to ``limit`` UUIDs of stored states and groups that begin with ``prefix``, in any order.

        It may read every key of the server: that takes seconds for millions of states, and blocks no other client.
        """


@runtime_checkable
class SupportsRevocation(Protocol):
    """A backend that keeps the UUIDs of tasks that must not run, and announces them to workers."""

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        """Revoke tasks for ``seconds`` from now, and announce it. An earlier revocation that lasts longer stays."""

    def revoked(self) -> dict[str, float]:
        """Read all UUIDs that are revoked now, with the seconds for which they still are."""

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        """Call ``wake`` with the tasks that are revoked from now on, in the form of :meth:`revoked`.

        The calls come from one of the backend's threads. The first call, and the first after a lost connection, has
        all revoked tasks, so none is missed.

        Returns a function that ends the watch.
        """


@runtime_checkable
class SupportsConditionalWrite(Protocol):
    """A backend that compares and stores in one step."""

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        """Store FAILURE states as :meth:`Backend.write` does, but never over a SUCCESS, even one stored meanwhile."""


@runtime_checkable
class SupportsClaims(Protocol):
    """A backend that gives a name to one holder at a time."""

    def claim(self, key: str, holder: str, seconds: float) -> str:
        """Give ``key`` to ``holder`` for ``seconds`` if it has no holder; return the holder that it has now."""

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        """Free the keys of these (key, holder) pairs; a key that has another holder stays claimed."""
