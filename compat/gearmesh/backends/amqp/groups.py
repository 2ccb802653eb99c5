"""A group's queue: the final state of each member, and who may send what follows the last one.

Go has no list of a group's members. Each member that ends adds its final state to the queue named like the group; who
then sees as many messages there as the group has members takes them all away and sends the callback. There is no
lock, so what decides between a Go worker and one of ours is who has the messages:

1. We count without taking. Only if all seem to be there we take them, in one go, and hold them unacknowledged.
2. A Go worker that comes meanwhile sees fewer than it expects, and leaves. If it was first, we see fewer, put back
   what we have, and leave.
3. With all of them in hand, the trigger is taken (:meth:`.layout.Layout.take_trigger`), the callback sent, and the
   group's queue deleted. Go deletes it, too.
4. If our connection or process dies before, RabbitMQ puts everything back, and the member that held it, which is not
   settled, is delivered again: its next holder begins at 1. It has the same name, so the trigger is its own.

Among ourselves a lock keeps two from holding a part each.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import amqp

from gearmesh.backends.amqp.layout import Layout
from gearmesh.backends.amqp.links import CONNECTION_ERRORS, Channel, Got, Link, Links, Publishing
from gearmesh.backends.amqp.states import AGAIN, States
from gearmesh.errors import BackendError, ChordBusy, RemoteProtocolError
from gearmesh.wire.codec import decode_group, decode_state, encode_group, encode_state
from gearmesh.wire.names import group_meta_queue
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["Groups"]

log = logging.getLogger("gearmesh.amqp")

#: Members remembered that this process has counted, or tried to.
COUNTED: Final = 10_000


@dataclass(slots=True)
class _Hand:
    """All states of a group, held for the member ``by`` until its chord has fired."""

    by: str
    members: int
    states: list[TaskState]
    channel: Channel
    link: Link


class Groups:
    """Safe in threads."""

    def __init__(self, layout: Layout, links: Links, states: States) -> None:
        self._layout = layout
        self._links = links
        self._states = states
        self._lock = threading.RLock()
        self._hands: dict[str, _Hand] = {}
        #: what the hands are on; lent to nobody else
        self._link: Link | None = None
        #: (group, task) -> False where it is not known whether RabbitMQ has it
        self._counted: OrderedDict[tuple[str, str], bool] = OrderedDict()

    # --- the list of members, where the group was sent from here

    def create(self, link: Link, meta: GroupMeta) -> None:
        """Store a meta."""
        layout, uuid = self._layout, meta.GroupUUID

        def declare(channel: Channel) -> None:
            layout.declare_meta(channel, uuid)

        link.channel.publish_each([Publishing("", group_meta_queue(uuid), encode_group(meta), declare)])
        if meta.ChordTriggered:
            layout.take_trigger(link.channel, uuid, "")

    def meta(self, link: Link, group_uuid: str) -> GroupMeta | None:
        """What :meth:`create` stored last; None: nothing, or the group was sent by Go."""
        channel = link.channel
        for pause in (0.0, *AGAIN):
            if pause:
                time.sleep(pause)
            try:
                held = _take_all(channel, group_meta_queue(group_uuid), 1)
            except amqp.NotFound:
                channel.prepare()
                return None
            if held:
                for got in held[:-1]:
                    channel.basic_ack(got.tag)
                channel.basic_reject(held[-1].tag, requeue=True)
                try:
                    return decode_group(held[-1].body)
                except RemoteProtocolError as exc:
                    raise BackendError(f"group {group_uuid}: what is stored is no GroupMeta: {exc}") from exc
        return None

    # --- counting

    def counted(self, group_uuid: str, task_uuid: str, again: bool) -> bool:
        """See :meth:`gearmesh.backends.base.Counting.counted`."""
        with self._lock:
            sure = self._counted.get((group_uuid, task_uuid))
            if sure or (sure is None and not again):
                return bool(sure)
            hand = self._hands.get(group_uuid)
            if hand is not None and hand.link is self._link:
                return any(state.TaskUUID == task_uuid for state in hand.states)
            with self._holding() as link:
                channel = link.another_channel()
                try:
                    self._layout.lock(channel, group_uuid)
                    held = _take_all(channel, group_uuid, 0)
                    known = any(state.TaskUUID == task_uuid for state in self._distinct(channel, held))
                    _put_back(channel)
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
            self._remember([(group_uuid, task_uuid)], known)
            return known

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        """See :meth:`gearmesh.backends.base.Counting.count`."""
        keys = [(group_uuid, state.TaskUUID) for group_uuid, state in finals]
        self._remember(keys, False)
        with self._links.lend() as link:
            self._states.publish(link, [(group, encode_state(state), False) for group, state in finals])
        self._remember(keys, True)

    # --- the last member

    def gather(self, group_uuid: str, members: int, by: str, again: bool) -> bool:
        """See :meth:`gearmesh.backends.base.Counting.gather`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is not None and hand.link is self._link:
                return hand.by == by  # another member of this process is at it
            self._hands.pop(group_uuid, None)
            with self._links.lend() as link:
                ready = link.channel.size(group_uuid)
            if ready is None or ready < members:
                return False
            return self._take(group_uuid, members, by, again)

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        """See :meth:`gearmesh.backends.base.Counting.gathered`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by or hand.link is not self._link:
                return None
            states = {state.TaskUUID: state for state in hand.states}
        with self._links.lend() as link:
            meta = self.meta(link, group_uuid)
        order = meta.TaskUUIDs if meta is not None else ()
        if set(order) == set(states):
            return [states[uuid] for uuid in order]
        return list(states.values())  # Go: in the order in which they ended

    def trigger(self, group_uuid: str, by: str) -> bool:
        """See :meth:`gearmesh.backends.base.Backend.trigger`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by:
                return self._take_trigger(group_uuid, by)
            # The connection broke: who has the messages now?
            if hand.link is not self._link and not self._take(group_uuid, hand.members, by, True):
                del self._hands[group_uuid]
                return False
            hand = self._hands[group_uuid]
            with self._holding():
                try:
                    self._layout.take_trigger(hand.channel, group_uuid, by)
                except amqp.PreconditionFailed:
                    return False  # somebody else took it; the channel's end has put back what we held
            return True

    def let_go(self, group_uuid: str, by: str, fired: bool) -> None:
        """See :meth:`gearmesh.backends.base.Counting.let_go`."""
        with self._lock:
            hand = self._hands.get(group_uuid)
            if hand is None or hand.by != by:
                return
            del self._hands[group_uuid]
            if hand.link is not self._link:
                return
            try:
                with self._holding():
                    if fired:
                        hand.channel.queue_delete(group_uuid, nowait=True)
                        hand.channel.queue_delete(group_meta_queue(group_uuid), nowait=True)
                    else:
                        _put_back(hand.channel)
                    self._layout.unlock(hand.channel, group_uuid)
                    hand.channel.close()
            except (*CONNECTION_ERRORS, amqp.ChannelError) as exc:
                log.debug("group %s: %s", group_uuid, exc)  # RabbitMQ puts it all back

    def close(self) -> None:
        """Put back what is held."""
        with self._lock:
            self._hands.clear()
            link, self._link = self._link, None
        if link is not None:
            link.close()

    # --- inside, with the lock held

    def _remember(self, keys: Sequence[tuple[str, str]], sure: bool) -> None:
        with self._lock:
            for key in keys:
                self._counted[key] = sure
                self._counted.move_to_end(key)
            while len(self._counted) > COUNTED:
                self._counted.popitem(last=False)

    @contextlib.contextmanager
    def _holding(self) -> Iterator[Link]:
        """The connection that the hands are on."""
        link = self._link
        if link is None or (link.stale and not self._hands):
            if link is not None:
                link.close()
            link = self._link = self._links.open()
        try:
            yield link
        except CONNECTION_ERRORS:
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

    def _take(self, group_uuid: str, members: int, by: str, again: bool) -> bool:
        """Take all states of a group in hand, if all are there."""
        with self._holding() as link:
            channel = link.another_channel()
            try:
                self._layout.lock(channel, group_uuid)
            except amqp.ResourceLocked as exc:
                channel.close()
                if again:  # it may be locked by this very member, where it was held before
                    raise ChordBusy(f"group {group_uuid}: another worker holds its states") from exc
                return False  # by a member that is not settled either, and looks after us
            try:
                states = self._distinct(channel, _take_all(channel, group_uuid, members))
            except amqp.NotFound:
                channel.prepare()
                states = []
            if len(states) < members:
                _put_back(channel)
                self._layout.unlock(channel, group_uuid)
                channel.close()
                return False
            self._hands[group_uuid] = _Hand(by, members, states, channel, link)
            return True

    def _distinct(self, channel: Channel, held: Sequence[Got]) -> list[TaskState]:
        """The states, one for each task; a second one of a task is dropped, so that Go's count is right again."""
        states: dict[str, TaskState] = {}
        for got in held:
            try:
                state = decode_state(got.body)
            except RemoteProtocolError as exc:
                log.error("a message in a group's queue is no TaskState and is dropped: %s", exc)
                channel.basic_ack(got.tag)
                continue
            if state.TaskUUID in states:
                channel.basic_ack(got.tag)
            else:
                states[state.TaskUUID] = state
        return list(states.values())


def _take_all(channel: Channel, queue: str, expected: int) -> list[Got]:
    """All messages of a queue, in order, held; quickest with their number. Raises ``amqp.NotFound``.

    The questions go out together: a worker of Go's that looks at the queue meanwhile finds it full or empty.
    """
    held: list[Got] = []
    ask = max(expected, 1)
    while ask:
        answers = channel.get_each([queue] * ask)
        held += [got for got in answers if got.tag]
        ask = answers[-1].left if answers[-1].tag else 0
    return held


def _put_back(channel: Channel) -> None:
    """Put all that the channel holds back to where it was; done when this returns."""
    channel.basic_recover(requeue=True)
