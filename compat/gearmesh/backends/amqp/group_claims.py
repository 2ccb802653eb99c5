"""Counts the final states of a group in its queue, and claims them for the member that fires the chord.

Go has no list of a group's members. Each member that ends adds its final state to the queue named like the group. A
member that then sees as many messages there as the group has members takes them all away, sends the callback, and
deletes the queue. Go takes no lock, and a Go worker that has once seen them all deletes the queue, even if messages are
missing by then. So a gearmesh worker must never take a part of the states while a Go worker may do that:

1. Before a member adds its state, its worker counts the messages. If only this state is missing, the worker does not
   add it, so no other worker can see the group complete. It fetches the other states in one go, and holds them unacked.
2. Else it adds the state, and counts again. If all states are there now, another worker has added one in between, and
   may have counted the same number. A Go worker then deletes the queue soon. So the gearmesh worker waits for
   :data:`GO_TAKE_TIMEOUT_S`, and then fetches the states that are still there.
3. With all states fetched, the worker takes the trigger (:meth:`.layout.Layout.take_trigger`), sends the callback, and
   deletes the group's queue.
4. If its connection or process dies before that, RabbitMQ notices it, requeues all states, and then ends the lock. The
   member that held the claim is not settled. In this process, or in the one that receives it again, it waits for the
   end of the lock and begins at 1. It has the same name as before, so the trigger is still its own.

Among gearmesh workers, a lock keeps two from fetching a part of the states each, and the last few from adding their
states at the same time. A worker that checks whether a member was counted before also fetches all states for a moment,
and other workers cannot see them meanwhile. So this worker first waits as in 2, and afterwards checks itself whether
the group is complete.
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

#: The largest number of remembered members that this process has counted or tried to count, and of groups that it has
#: seen complete.
MAX_REMEMBERED_MEMBERS: Final = 10_000
#: Seconds for which a complete group is left to a Go worker that may have counted the same number. Between its count
#: and its fetch it opens three connections one after another: this takes some 20 ms if RabbitMQ is near, else about 30
#: times the network's delay.
GO_TAKE_TIMEOUT_S: Final = 1.0
#: Gearmesh workers add the states of this many last members of a group in turn; and the seconds to wait for a turn.
MEMBERS_ADDED_IN_TURN, TURN_TIMEOUT_S = 6, 0.1


@dataclass(slots=True)
class GroupClaim:
    """A group, locked for the member ``by`` until its chord has fired.

    Attributes:
        by: the UUID of the member that fires the chord.
        members: the size of the group.
        own: the state of ``by``, if it was not added to the queue; else None.
        channel: holds the group's states unacked.
        connection: the channel's connection. Once :class:`GroupClaims` has another one, the claim is lost, and RabbitMQ
            requeues the states as soon as it has noticed that.
        states: the states of all members; empty while they are being fetched.
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
        #: (group, task) -> True: RabbitMQ has the state; False: it may have the state
        self._counted = BoundedDict[tuple[str, str], bool](MAX_REMEMBERED_MEMBERS)
        #: group -> monotonic time at which it was first seen complete, if a Go worker may have seen that, too
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
                return claim.by == by  # else another member of this process fires the chord
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
            # If the connection broke, the group must be claimed again.
            if claim.connection is not self._claims_connection and not self.gather(
                group_uuid, claim.members, by, True
            ):
                return False
            claim = self._claims[group_uuid]
            with self._on_claims_connection():
                try:
                    self._layout.take_trigger(claim.channel, group_uuid, by)
                except amqp.PreconditionFailed:
                    return False  # another worker took it; the error has requeued the channel's states
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
                log.debug("group %s: %s", group_uuid, exc)  # RabbitMQ requeues the states
                if claim.own is not None and not fired:
                    self._claims[group_uuid] = claim  # RabbitMQ never had this member's state: keep it here

    def close(self) -> None:
        """End all claims; RabbitMQ requeues their states."""
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

        As long as RabbitMQ has not noticed that, the group is still locked, and no worker can see its states.
        """
        with self._on_claims_connection() as connection:
            if not self._layout.lock(connection.channel, group_uuid):
                raise ChordBusy(f"group {group_uuid}: its states are not requeued yet")
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

        Near the end of a group, gearmesh processes take turns, so that only a Go worker can add a state in between.
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
                        turn = None  # _take has released the lock
            except amqp.ChannelError as exc:  # for example, no permission to declare the lock
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
        """Lock a group and return the connection that has the lock; None if another one does not release it in time."""
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
            # Also an exception that another thread raised in this one: the connection may be in the middle of a method.
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
        """Claim a group if the queue has all states but ``own``: lock the group, and fetch the states."""
        with self._on_claims_connection() as connection:
            channel = self._lock_on_channel(connection, group_uuid)
            if channel is None:
                if again:  # the lock may be this member's own, from its earlier delivery
                    raise ChordBusy(f"group {group_uuid}: another worker holds its states")
                return False  # the lock's holder is not settled either, and checks the group later
            before = self._claims.get(group_uuid)  # a lost claim of another member
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
                    self._counted.put((group_uuid, own.TaskUUID), True)  # added by an earlier delivery
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
        """Return one state for each task, and drop a task's second state, so that Go's count is right again."""
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
