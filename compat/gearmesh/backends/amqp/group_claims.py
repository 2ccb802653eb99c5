"""Counts the final states of a group in its queue, and claims them for the member that fires the chord.

Go has no list of a group's members. Each member that ends adds its final state to the queue named like the group. A
member that then sees as many messages there as the group has members takes them all away, sends the callback, and
deletes the queue. Go takes no lock, and a Go worker that has once seen them all deletes the queue whatever it finds
then. So a gearmesh worker must never take a part of the states while a Go worker may do that:

1. Before a member adds its state, its worker counts the messages. If only this state is missing, it is not added: no
   other worker can see the group complete then. The worker fetches the others in one go, and holds them unacked.
2. Else it adds the state, and counts again. If all are there now, another worker has added one in between, and may
   have counted the same. If that was Go, the queue is deleted soon; the gearmesh worker fetches what is still there
   only after :data:`GO_TAKE_TIMEOUT_S`.
3. With all states fetched, the worker takes the trigger (:meth:`.layout.Layout.take_trigger`), sends the callback, and
   deletes the group's queue.
4. If its connection or process dies before, RabbitMQ requeues all states once it has noticed, and then ends the lock.
   The member that held the claim is not settled. It waits for that, in this process or where it is redelivered, and
   begins at 1. It has the same name, so the trigger is its own.

Among gearmesh workers a lock keeps two from fetching a part each, and the last few from adding their states at the same
time. A worker that looks whether a member was counted before fetches all states for a moment, too. Meanwhile other
workers cannot see them, so that worker waits as in 2, and then asks itself if the group is complete.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import amqp

from gearmesh.backends.amqp import group_meta
from gearmesh.backends.amqp.connection_pool import (
    CONNECTION_ERRORS,
    ConnectionPool,
    FetchedState,
    PooledConnection,
    ResultChannel,
)
from gearmesh.backends.amqp.layout import Layout
from gearmesh.backends.amqp.states import States
from gearmesh.bounded_dict import BoundedDict
from gearmesh.errors import BackendError, ChordBusy, RemoteProtocolError
from gearmesh.wire.codec import decode_state, encode_state
from gearmesh.wire.names import group_meta_queue
from gearmesh.wire.state import TaskState

__all__ = ["GroupClaims"]

log = logging.getLogger("gearmesh.amqp")

#: Members remembered that this process has counted, or tried to; and groups that it has seen complete.
MAX_REMEMBERED_MEMBERS: Final = 10_000
#: Seconds that are left to a Go worker that may have counted the same. From its count to taking all it opens
#: three connections one after another: some 20 ms beside RabbitMQ, 30 times the way there if that is far.
GO_TAKE_TIMEOUT_S: Final = 1.0
#: As many members before the end of a group, ours add theirs in turn; and seconds that one waits for its turn.
MEMBERS_ADDED_IN_TURN, TURN_TIMEOUT_S = 6, 0.1


@dataclass(slots=True)
class GroupClaim:
    """A group, locked for the member ``by`` until its chord has fired.

    Attributes:
        by: the UUID of the member that fires the chord.
        members: the size of the group.
        own: the state of ``by``, if it was not added to the queue; else None.
        channel: holds the group's states unacked.
        connection: the channel's; once it is not the one of the claims any more, the claim is lost, and RabbitMQ
            requeues the states as soon as it has noticed that.
        states: those of all members; empty while they are being fetched.
    """

    by: str
    members: int
    own: TaskState | None
    channel: ResultChannel
    connection: PooledConnection
    states: Sequence[TaskState] = ()


class GroupClaims:
    """The groups on which this process works, and those that it claims. Safe in threads."""

    def __init__(self, layout: Layout, pool: ConnectionPool, states: States) -> None:
        self._layout = layout
        self._pool = pool
        self._states = states
        self._lock = threading.RLock()
        self._claims: dict[str, GroupClaim] = {}
        #: the connection that holds the states of all claims; lent to no other caller
        self._claims_connection: PooledConnection | None = None
        #: (group, task) -> False where it is not known whether RabbitMQ has it
        self._counted = BoundedDict[tuple[str, str], bool](MAX_REMEMBERED_MEMBERS)
        #: group -> monotonic time at which it was first seen complete, where a Go worker may have seen that, too
        self._complete_since = BoundedDict[str, float](MAX_REMEMBERED_MEMBERS)

    # --- counting

    def counted(self, group_uuid: str, task_uuid: str, again: bool, members: int = 0) -> bool:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.counted`."""
        with self._lock:
            sure = self._counted.get((group_uuid, task_uuid))
            if sure or (sure is None and not again):
                return bool(sure)
            claim = self._claims.get(group_uuid)
            if claim is not None and claim.connection is self._claims_connection:
                return any(state.TaskUUID == task_uuid for state in claim.states)
            if members and self._size(group_uuid) >= members and not self._alone(group_uuid):
                raise ChordBusy(f"group {group_uuid}: another worker may be about to take its states")
            with self._on_claims_connection() as connection:
                channel = self._lock_on_channel(connection, group_uuid)
                if channel is None:
                    raise ChordBusy(f"group {group_uuid}: another worker looks at its states")
                try:
                    states = self._distinct(channel, channel.take_all(group_uuid, 0))
                    channel.put_back()
                except amqp.NotFound:
                    channel.prepare()
                    states = []
                except amqp.ChannelError:
                    channel.close()
                    raise
                self._layout.unlock(channel, group_uuid)
                channel.close()
            known = any(state.TaskUUID == task_uuid for state in states)
            self._counted.put((group_uuid, task_uuid), known)
            return known

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.count`."""
        for group_uuid, state in finals:
            self._counted.put((group_uuid, state.TaskUUID), False)
        with self._pool.lend() as connection:
            self._states.publish(connection, [(group, encode_state(state), False) for group, state in finals])
        for group_uuid, state in finals:
            self._counted.put((group_uuid, state.TaskUUID), True)

    # --- the last member

    def gather(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.gather`."""
        with self._lock:
            claim = self._claims.get(group_uuid)
            if claim is not None and claim.connection is self._claims_connection:
                if own is not None and all(state.TaskUUID != own.TaskUUID for state in claim.states):
                    self.count([(group_uuid, own)])
                return claim.by == by  # another member of this process is at it
            if claim is not None and claim.by == by:
                return self._gather_anew(claim, group_uuid)
            if own is not None and self._add_or_take(group_uuid, members, by, own):
                return True
            complete = self._size(group_uuid) >= members
            if complete and not self._alone(group_uuid):
                raise ChordBusy(f"group {group_uuid}: another worker may be about to take its states")
            taken = complete and self._take(group_uuid, members, by, again)
            self._complete_since.pop(group_uuid)
            return taken

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.gathered`."""
        with self._lock:
            claim = self._claims.get(group_uuid)
            if claim is None or claim.by != by or claim.connection is not self._claims_connection:
                return None
            states = {state.TaskUUID: state for state in claim.states}
        with self._pool.lend() as connection:
            meta = group_meta.read(connection.channel, group_uuid)
        order = meta.TaskUUIDs if meta is not None else ()
        if set(order) == set(states):
            return [states[uuid] for uuid in order]
        return list(states.values())  # Go: in the order in which they ended

    def trigger(self, group_uuid: str, by: str) -> bool:
        """See :meth:`gearmesh.interfaces.backend.Backend.trigger`."""
        with self._lock:
            claim = self._claims.get(group_uuid)
            if claim is None or claim.by != by:
                return self._take_trigger(group_uuid, by)
            # The connection broke: who has the messages now?
            if claim.connection is not self._claims_connection and not self.gather(
                group_uuid, claim.members, by, True
            ):
                return False
            claim = self._claims[group_uuid]
            with self._on_claims_connection():
                try:
                    self._layout.take_trigger(claim.channel, group_uuid, by)
                except amqp.PreconditionFailed:
                    return False  # another worker took it; the channel's end has requeued the states that it held
            return True

    def release_group(self, group_uuid: str, by: str, fired: bool) -> None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.release_group`."""
        with self._lock:
            claim = self._claims.get(group_uuid)
            if claim is None or claim.by != by:
                return
            del self._claims[group_uuid]
            try:
                if claim.connection is self._claims_connection:
                    with self._on_claims_connection():
                        if fired:
                            claim.channel.queue_delete(group_uuid, nowait=True)
                            claim.channel.queue_delete(group_meta_queue(group_uuid), nowait=True)
                        else:
                            claim.channel.put_back()
                        self._layout.unlock(claim.channel, group_uuid)
                        claim.channel.close()
                if claim.own is not None and not fired:
                    self.count([(group_uuid, claim.own)])
            except (*CONNECTION_ERRORS, amqp.ChannelError) as exc:
                log.debug("group %s: %s", group_uuid, exc)  # RabbitMQ puts it all back
                if claim.own is not None and not fired:
                    self._claims[group_uuid] = claim  # RabbitMQ never had this member's state: keep it here

    def close(self) -> None:
        """Put back what is held."""
        with self._lock:
            self._claims.clear()
            connection, self._claims_connection = self._claims_connection, None
        if connection is not None:
            connection.close()

    # --- inside, with the lock held

    def _lock_on_channel(self, connection: PooledConnection, group_uuid: str) -> ResultChannel | None:
        """Lock a group and return a new channel for its states; None if another worker has the lock."""
        channel = connection.another_channel()
        try:
            if self._layout.lock(channel, group_uuid):
                return channel
        except amqp.ChannelError:
            channel.close()
            raise
        channel.close()
        return None

    def _gather_anew(self, lost: GroupClaim, group_uuid: str) -> bool:
        """Claim again a group whose claim was lost with its connection.

        As long as RabbitMQ has not noticed that, the group is still locked, and its states are nowhere to be seen.
        """
        with self._on_claims_connection() as connection:
            if not self._layout.lock(connection.channel, group_uuid):
                raise ChordBusy(f"group {group_uuid}: its states are not put back yet")
            self._layout.unlock(connection.channel, group_uuid)
        own = lost.own
        if own is not None and self.counted(group_uuid, own.TaskUUID, False):
            own = None
        del self._claims[group_uuid]
        try:
            return self.gather(group_uuid, lost.members, lost.by, True, own)
        except BaseException:
            self._claims.setdefault(group_uuid, lost)
            raise

    def _add_or_take(self, group_uuid: str, members: int, by: str, own: TaskState) -> bool:
        """Claim the group if ``own`` is its last state, else add it to the others.

        Towards the end in turn with other processes of ours, so that only one of Go's can add one in between.
        """
        near, turn, refused = members - MEMBERS_ADDED_IN_TURN, None, None
        try:
            try:
                if near <= 0 or self._ready(group_uuid) >= near:
                    turn = self._take_turn(group_uuid)
                    if self._ready(group_uuid) == members - 1:
                        if self._take(group_uuid, members, by, False, own):
                            turn = None  # the claim has the lock
                            return True
                        turn = None  # it was given back
            except amqp.ChannelError as exc:  # no right to lock it, say
                refused = exc
            if not self._counted.get((group_uuid, own.TaskUUID)):
                self.count([(group_uuid, own)])
        finally:
            if turn is not None and turn is self._claims_connection:
                with self._on_claims_connection() as connection:
                    self._layout.unlock(connection.channel, group_uuid)
        if refused is not None:
            raise refused
        return False

    def _take_turn(self, group_uuid: str) -> PooledConnection | None:
        """Lock a group and return the connection that has the lock; None if another one has it for long."""
        deadline = time.monotonic() + TURN_TIMEOUT_S
        with self._on_claims_connection() as connection:
            while not self._layout.lock(connection.channel, group_uuid):
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.003)
            return connection

    def _size(self, group_uuid: str) -> int:
        """The number of states in the group's queue; -1: there is no queue."""
        with self._pool.lend() as connection:
            size = connection.channel.size(group_uuid)
        return -1 if size is None else size

    def _ready(self, group_uuid: str) -> int:
        """The number of states that a group has, before one is added."""
        with self._pool.lend() as connection:
            try:
                return self._layout.ready(connection.channel, group_uuid)
            except amqp.PreconditionFailed:  # declared with another expiry
                connection.channel.prepare()
                return connection.channel.size(group_uuid) or 0

    def _alone(self, group_uuid: str) -> bool:
        """True if a complete group was left untaken for so long that no other worker will take it."""
        now = time.monotonic()
        since = self._complete_since.setdefault(group_uuid, now)
        return now - since >= GO_TAKE_TIMEOUT_S

    @contextlib.contextmanager
    def _on_claims_connection(self) -> Iterator[PooledConnection]:
        """Lend the connection of the claims. An error that ends it ends all claims."""
        connection = self._claims_connection
        if connection is None or (connection.stale and not self._claims):
            if connection is not None:
                connection.close()
            connection = self._claims_connection = self._pool.open()
        try:
            yield connection
        except (amqp.ChannelError, BackendError):
            raise
        except BaseException:
            # Also one that was thrown in from elsewhere: what is on its way is not known any more.
            if self._claims_connection is connection:
                self._claims_connection = None  # so all claims are lost
            connection.abandon()
            raise
        connection.used_at = time.monotonic()

    def _take_trigger(self, group_uuid: str, by: str) -> bool:
        with self._pool.lend() as connection:
            channel = connection.channel
            known = any(
                channel.size(queue) is not None for queue in (group_uuid, group_meta_queue(group_uuid))
            )
            if not known:
                raise BackendError(
                    f"group {group_uuid!r} is not known (any more), its chord cannot be triggered"
                )
            try:
                self._layout.take_trigger(channel, group_uuid, by)
            except amqp.PreconditionFailed:
                channel.prepare()
                return False
            return True

    def _take(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        """Claim a group: lock it and fetch all its states, if all are there but ``own``."""
        with self._on_claims_connection() as connection:
            channel = self._lock_on_channel(connection, group_uuid)
            if channel is None:
                if again:  # it may be locked by this very member, where it was held before
                    raise ChordBusy(f"group {group_uuid}: another worker holds its states")
                return False  # by a member that is not settled either, and looks after us
            before = self._claims.get(group_uuid)  # of another member, and lost
            claim = self._claims[group_uuid] = GroupClaim(by, members, own, channel, connection)
            refused = None
            try:
                states = self._distinct(channel, channel.take_all(group_uuid, members - bool(own)))
            except amqp.ChannelError as exc:
                refused = None if isinstance(exc, amqp.NotFound) else exc
                channel.prepare()
                states = []
            if own is not None:
                if any(state.TaskUUID == own.TaskUUID for state in states):
                    self._counted.put((group_uuid, own.TaskUUID), True)  # an earlier delivery's
                    claim.own = None
                else:
                    states.append(own)
            if len(states) >= members:
                claim.states = states
                return True
            del self._claims[group_uuid]
            if before is not None:
                self._claims[group_uuid] = before
            channel.put_back()
            self._layout.unlock(channel, group_uuid)
            channel.close()
            if refused is not None:
                raise refused
            return False

    def _distinct(self, channel: ResultChannel, fetched: Sequence[FetchedState]) -> list[TaskState]:
        """The states, one for each task; a second one of a task is dropped, so that Go's count is right again."""
        states: dict[str, TaskState] = {}
        for got in fetched:
            try:
                state = decode_state(got.body)
            except RemoteProtocolError as exc:
                log.error("dropped a message in a group's queue that is not a TaskState: %s", exc)
                channel.basic_ack(got.tag)
                continue
            if state.TaskUUID in states:
                channel.basic_ack(got.tag)
            else:
                states[state.TaskUUID] = state
        return list(states.values())
