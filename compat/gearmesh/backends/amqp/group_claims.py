"""A group's queue: the final state of each member, and who may send what follows the last one.

Go has no list of a group's members. Each member that ends adds its final state to the queue named like the group; who
then sees as many messages there as the group has members takes them all away, sends the callback, and deletes the
queue. There is no lock, and a worker of Go's that has once seen them all deletes the queue whatever it finds then. So
one must never take a part while such a worker is about:

1. Before a member adds its state we count. If only its own is missing, it is not added: no other worker can see the
   group complete then. We take the others in one go, and hold them unacknowledged.
2. Else it is added, and counted again. If all are there now, another worker has added one in between, and may have
counted
   as we have. If that was Go, the queue is gone soon; we take what is still there only after :data:`GO_TAKE_TIMEOUT_S`.
3. With all in hand the trigger is taken (:meth:`.layout.Layout.take_trigger`), the callback sent, and the group's queue
   deleted.
4. If our connection or process dies before, RabbitMQ puts everything back once it has noticed, and then ends the lock.
   The member that held it is not settled, and waits for that, here or where it is delivered again, and begins at 1.
   It has the same name, so the trigger is its own.

Among ourselves a lock keeps two from holding a part each, and the last few from adding theirs at the same time. Who
looks for a member that was counted before holds all for a moment, too: it waits as in 2, and asks for the group itself
afterwards, since it has hidden the states from others.
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
#: Seconds that are left to a worker of Go's which may have counted as we have. From its count to taking all it opens
#: three connections one after another: some 20 ms beside RabbitMQ, 30 times the way there if that is far.
GO_TAKE_TIMEOUT_S: Final = 1.0
#: As many members before the end of a group, ours add theirs in turn; and seconds that one waits for its turn.
MEMBERS_ADDED_IN_TURN, TURN_TIMEOUT_S = 6, 0.1


@dataclass(slots=True)
class GroupClaim:
    """A group, locked for the member ``by`` until its chord has fired.

    ``states``: all of them, held; empty while they are being taken. ``own``: the one of ``by``, if it was not added to
    the queue. ``link``: if it is not in use any more, RabbitMQ puts back what was held, sooner or later.
    """

    by: str
    members: int
    own: TaskState | None
    channel: ResultChannel
    link: PooledConnection
    states: Sequence[TaskState] = ()


class GroupClaims:
    """Safe in threads."""

    def __init__(self, layout: Layout, links: ConnectionPool, states: States) -> None:
        self._layout = layout
        self._links = links
        self._states = states
        self._lock = threading.RLock()
        self._hands: dict[str, GroupClaim] = {}
        #: what the hands are on; lent to no other caller
        self._link: PooledConnection | None = None
        #: (group, task) -> False where it is not known whether RabbitMQ has it
        self._counted = BoundedDict[tuple[str, str], bool](MAX_REMEMBERED_MEMBERS)
        #: group -> monotonic time at which it was first seen complete, by who was not the only one to see it
        self._crossed = BoundedDict[str, float](MAX_REMEMBERED_MEMBERS)

    # --- counting

    def counted(self, group_uuid: str, task_uuid: str, again: bool, members: int = 0) -> bool:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.counted`."""
        with self._lock:
            sure = self._counted.get((group_uuid, task_uuid))
            if sure or (sure is None and not again):
                return bool(sure)
            hand = self._hands.get(group_uuid)
            if hand is not None and hand.link is self._link:
                return any(state.TaskUUID == task_uuid for state in hand.states)
            if members and self._size(group_uuid) >= members and not self._alone(group_uuid):
                raise ChordBusy(f"group {group_uuid}: another worker may be about to take its states")
            with self._holding() as link:
                channel = link.another_channel()
                try:
                    self._layout.lock(channel, group_uuid)
                    held = channel.take_all(group_uuid, 0)
                    known = any(state.TaskUUID == task_uuid for state in self._distinct(channel, held))
                    channel.put_back()
                    self._layout.unlock(channel, group_uuid)
                    channel.close()
                except amqp.ResourceLocked as exc:
                    channel.close()
                    raise ChordBusy(f"group {group_uuid}: another worker looks at its states") from exc
                except amqp.NotFound:
                    channel.prepare()
                    self._layout.unlock(channel, group_uuid)
                    channel.close()
                    known = False
                except amqp.ChannelError:
                    channel.close()
                    raise
            self._remember([(group_uuid, task_uuid)], known)
            return known

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.count`."""
        keys = [(group_uuid, state.TaskUUID) for group_uuid, state in finals]
        self._remember(keys, False)
        with self._links.lend() as link:
            self._states.publish(link, [(group, encode_state(state), False) for group, state in finals])
        self._remember(keys, True)

    # --- the last member

    def gather(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.gather`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is not None and hand.link is self._link:
                if own is not None and all(state.TaskUUID != own.TaskUUID for state in hand.states):
                    self.count([(group_uuid, own)])
                return hand.by == by  # another member of this process is at it
            if hand is not None and hand.by == by:
                return self._gather_anew(hand, group_uuid)
            if own is not None and self._add_or_take(group_uuid, members, by, own):
                return True
            complete = self._size(group_uuid) >= members
            if complete and not self._alone(group_uuid):
                raise ChordBusy(f"group {group_uuid}: another worker may be about to take its states")
            taken = complete and self._take(group_uuid, members, by, again)
            self._crossed.pop(group_uuid)
            return taken

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.gathered`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by or hand.link is not self._link:
                return None
            states = {state.TaskUUID: state for state in hand.states}
        with self._links.lend() as link:
            meta = group_meta.read(link.channel, group_uuid)
        order = meta.TaskUUIDs if meta is not None else ()
        if set(order) == set(states):
            return [states[uuid] for uuid in order]
        return list(states.values())  # Go: in the order in which they ended

    def trigger(self, group_uuid: str, by: str) -> bool:
        """See :meth:`gearmesh.interfaces.backend.Backend.trigger`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by:
                return self._take_trigger(group_uuid, by)
            # The connection broke: who has the messages now?
            if hand.link is not self._link and not self.gather(group_uuid, hand.members, by, True):
                return False
            hand = self._hands[group_uuid]
            with self._holding():
                try:
                    self._layout.take_trigger(hand.channel, group_uuid, by)
                except amqp.PreconditionFailed:
                    return False  # another worker took it; the channel's end has returned the states that we held
            return True

    def release_group(self, group_uuid: str, by: str, fired: bool) -> None:
        """See :meth:`gearmesh.interfaces.backend.CountsMembers.release_group`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by:
                return
            del self._hands[group_uuid]
            try:
                if hand.link is self._link:
                    with self._holding():
                        if fired:
                            hand.channel.queue_delete(group_uuid, nowait=True)
                            hand.channel.queue_delete(group_meta_queue(group_uuid), nowait=True)
                        else:
                            hand.channel.put_back()
                        self._layout.unlock(hand.channel, group_uuid)
                        hand.channel.close()
                if hand.own is not None and not fired:
                    self.count([(group_uuid, hand.own)])
            except (*CONNECTION_ERRORS, amqp.ChannelError) as exc:
                log.debug("group %s: %s", group_uuid, exc)  # RabbitMQ puts it all back
                if hand.own is not None and not fired:
                    self._hands[group_uuid] = hand  # the one that it has not

    def close(self) -> None:
        """Put back what is held."""
        with self._lock:
            self._hands.clear()
            link, self._link = self._link, None
        if link is not None:
            link.close()

    # --- inside, with the lock held

    def _remember(self, keys: Sequence[tuple[str, str]], sure: bool) -> None:
        for key in keys:
            self._counted.put(key, sure)

    def _gather_anew(self, lost: GroupClaim, group_uuid: str) -> bool:
        """Take in hand what was in hand before its connection was lost.

        As long as RabbitMQ has not noticed that, the group is still locked, and its states are nowhere to be seen.
        """
        with self._holding() as link:
            try:
                self._layout.lock(link.channel, group_uuid)
            except amqp.ResourceLocked as exc:
                link.channel.prepare()
                raise ChordBusy(f"group {group_uuid}: its states are not put back yet") from exc
            self._layout.unlock(link.channel, group_uuid)
        own = lost.own
        if own is not None and self.counted(group_uuid, own.TaskUUID, False):
            own = None
        del self._hands[group_uuid]
        try:
            return self.gather(group_uuid, lost.members, lost.by, True, own)
        except BaseException:
            self._hands.setdefault(group_uuid, lost)
            raise

    def _add_or_take(self, group_uuid: str, members: int, by: str, own: TaskState) -> bool:
        """Take all others in hand if ``own`` is the last one, else add it to them.

        Towards the end in turn with other processes of ours, so that only one of Go's can add one in between.
        """
        near, turn, refused = members - MEMBERS_ADDED_IN_TURN, None, None
        try:
            try:
                if near <= 0 or self._ready(group_uuid) >= near:
                    turn = self._take_turn(group_uuid)
                    if self._ready(group_uuid) == members - 1:
                        if self._take(group_uuid, members, by, False, own):
                            turn = None  # as long as the states are in hand
                            return True
                        turn = None  # it was given back
            except amqp.ChannelError as exc:  # no right to lock it, say
                refused = exc
            if not self._counted.get((group_uuid, own.TaskUUID)):
                self.count([(group_uuid, own)])
        finally:
            if turn is not None and turn is self._link:
                with self._holding() as link:
                    self._layout.unlock(link.channel, group_uuid)
        if refused is not None:
            raise refused
        return False

    def _take_turn(self, group_uuid: str) -> PooledConnection | None:
        """Lock a group, if it is not locked for long; where the lock is."""
        deadline = time.monotonic() + TURN_TIMEOUT_S
        with self._holding() as link:
            while True:
                try:
                    self._layout.lock(link.channel, group_uuid)
                    return link
                except amqp.ResourceLocked:
                    link.channel.prepare()
                except amqp.ChannelError:
                    link.channel.prepare()
                    raise
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.003)

    def _size(self, group_uuid: str) -> int:
        """The number of states in the group's queue; -1: there is no queue."""
        with self._links.lend() as link:
            size = link.channel.size(group_uuid)
        return -1 if size is None else size

    def _ready(self, group_uuid: str) -> int:
        """The number of states that a group has, before one is added."""
        with self._links.lend() as link:
            try:
                return self._layout.ready(link.channel, group_uuid)
            except amqp.PreconditionFailed:  # declared with another expiry
                link.channel.prepare()
                return link.channel.size(group_uuid) or 0

    def _alone(self, group_uuid: str) -> bool:
        """True if a complete group was left untaken for so long that no other worker will take it."""
        now = time.monotonic()
        since = self._crossed.setdefault(group_uuid, now)
        return now - since >= GO_TAKE_TIMEOUT_S

    @contextlib.contextmanager
    def _holding(self) -> Iterator[PooledConnection]:
        """The connection that the hands are on."""
        link = self._link
        if link is None or (link.stale and not self._hands):
            if link is not None:
                link.close()
            link = self._link = self._links.open()
        try:
            yield link
        except (amqp.ChannelError, BackendError):
            raise
        except BaseException:
            # Also one that was thrown in from elsewhere: what is on its way is not known any more.
            if self._link is link:
                self._link = None  # so all that was in hand is not any more
            link.abandon()
            raise
        link.used_at = time.monotonic()

    def _take_trigger(self, group_uuid: str, by: str) -> bool:
        with self._links.lend() as link:
            channel = link.channel
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
        """Take all states of a group in hand, if all are there but ``own``."""
        with self._holding() as link:
            channel = link.another_channel()
            try:
                self._layout.lock(channel, group_uuid)
            except amqp.ResourceLocked as exc:
                channel.close()
                if again:  # it may be locked by this very member, where it was held before
                    raise ChordBusy(f"group {group_uuid}: another worker holds its states") from exc
                return False  # by a member that is not settled either, and looks after us
            except amqp.ChannelError:
                channel.close()
                raise
            before = self._hands.get(group_uuid)  # of another member, and lost
            hand = self._hands[group_uuid] = GroupClaim(by, members, own, channel, link)
            refused = None
            try:
                states = self._distinct(channel, channel.take_all(group_uuid, members - bool(own)))
            except amqp.ChannelError as exc:
                refused = None if isinstance(exc, amqp.NotFound) else exc
                channel.prepare()
                states = []
            if own is not None:
                if any(state.TaskUUID == own.TaskUUID for state in states):
                    self._remember([(group_uuid, own.TaskUUID)], True)  # an earlier delivery's
                    hand.own = None
                else:
                    states.append(own)
            if len(states) >= members:
                hand.states = states
                return True
            del self._hands[group_uuid]
            if before is not None:
                self._hands[group_uuid] = before
            channel.put_back()
            self._layout.unlock(channel, group_uuid)
            channel.close()
            if refused is not None:
                raise refused
            return False

    def _distinct(self, channel: ResultChannel, held: Sequence[FetchedState]) -> list[TaskState]:
        """The states, one for each task; a second one of a task is dropped, so that Go's count is right again."""
        states: dict[str, TaskState] = {}
        for got in held:
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
