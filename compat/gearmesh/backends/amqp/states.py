"""A task's queue: one message for each state it has been in."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import amqp

from gearmesh.backends.amqp.announcing import announcement, declare_exchange
from gearmesh.backends.amqp.connection_pool import FetchedState, PooledConnection, ResultChannel, StateMessage
from gearmesh.backends.amqp.layout import Layout
from gearmesh.bounded_dict import BoundedDict
from gearmesh.errors import BackendError, RemoteProtocolError, Unstorable
from gearmesh.wire.codec import decode_state, encode_state
from gearmesh.wire.state import PENDING, RECEIVED, STARTED, TaskState

__all__ = ["States", "browse", "newest"]

log = logging.getLogger("gearmesh.amqp")

#: Pauses before a queue that exists and is empty is read again: another reader may hold its message for a moment.
REREAD_DELAYS_S: Final = (0.002, 0.006, 0.02)
#: A part of RabbitMQ's error about a message that is too large.
_TOO_LARGE: Final = "larger than"
#: Bytes of a remembered state beyond its message.
STATE_OVERHEAD_BYTES: Final = 400
#: The largest number of messages that one read holds at a time.
MAX_HELD_MESSAGES: Final = 256


class States:
    """Writes states, and reads them without consuming them.

    Go: reading a state consumes it, and a caller that has the final one deletes the queue. Here a read requeues the
    newest state at once and drops the older ones, so other readers find it, too. If another program has consumed a
    state meanwhile, a read returns the state that was read before, as long as this process remembers it.
    """

    def __init__(self, layout: Layout, read_states: BoundedDict[str, TaskState]) -> None:
        self._layout = layout
        self._read_states = read_states
        self._told_of_expiry = False
        self._announces = True

    def prepare(self, channel: ResultChannel) -> None:
        """Declare the exchanges."""
        self._layout.declare_exchange(channel)
        try:
            declare_exchange(channel)
            self._announces = True
        except amqp.AccessRefused as exc:  # announcements are only a shortcut
            log.debug("ends of tasks are not announced: %s", exc)
            self._announces = False
            channel.prepare()

    # --- writing

    def write(self, connection: PooledConnection, states: Sequence[TaskState]) -> None:
        """Add states to their tasks' queues, in order, and wait for RabbitMQ's confirms."""
        for state in states:
            self._read_states.pop(state.TaskUUID)
        bodies = [(state.TaskUUID, encode_state(state), state.State == PENDING) for state in states]
        self.publish(connection, bodies, announcement(states) if self._announces else ())

    def publish(
        self,
        connection: PooledConnection,
        bodies: Sequence[tuple[str, bytes, bool]],
        more: Sequence[StateMessage] = (),
    ) -> None:
        """Add messages, (queue, body, True if the queue may be new), to queues of tasks or groups.

        It declares each queue, so that the queue's expiry begins anew. Binding costs more: it binds only new queues,
        and those that turn out not to exist (any more). ``more``: messages to send after these.
        """
        layout, channel = self._layout, connection.channel
        messages = [
            StateMessage(layout.exchange, queue, body, partial(self._declare, queue, new))
            for queue, body, new in bodies
        ]
        messages += more
        try:
            lost = channel.publish_each(messages)
        except amqp.NotFound:  # another program has deleted an exchange
            channel.prepare()
            self.prepare(channel)
            lost = channel.publish_each(messages)
        except amqp.PreconditionFailed as exc:
            channel.prepare()
            if _TOO_LARGE not in str(exc):
                self._tell_of_expiry(exc)
            for queue, body, _ in bodies:
                self._publish_as_it_is(channel, queue, body)
            channel.publish_each(more)
            return
        if lost:
            again = set(lost)
            # Compare messages, not queues: of two messages for one queue, only the first may have found no binding, if
            # another program has bound the queue in between.
            self.publish(
                connection, [(queue, body, True) for queue, body, _ in bodies if (queue, body) in again]
            )

    def _declare(self, queue: str, new: bool, channel: ResultChannel) -> None:
        self._layout.declare(channel, queue)
        if new:
            self._layout.bind(channel, queue)

    def _publish_as_it_is(self, channel: ResultChannel, queue: str, body: bytes) -> None:
        """Publish to a queue that another program may have declared in another way. Raises Unstorable for a state
        that is too large."""
        if channel.size(queue) is None:
            self._layout.declare(channel, queue)
        message = StateMessage(self._layout.exchange, queue, body)
        try:
            if channel.publish_each([message]):
                self._layout.bind(channel, queue)
                channel.publish_each([message])
        except amqp.PreconditionFailed as exc:
            channel.prepare()
            if _TOO_LARGE in str(exc):
                raise Unstorable(
                    queue, f"{len(body)} bytes are more than RabbitMQ's max_message_size"
                ) from exc
            raise

    def _tell_of_expiry(self, exc: Exception) -> None:
        if not self._told_of_expiry:
            self._told_of_expiry = True
            log.warning(
                "results_expire_in is %d s here, but another value in the program that declared a result's queue; "
                "each such state takes some more requests: %s",
                self._layout.expire_ms // 1000,
                exc,
            )

    # --- reading

    def read(self, connection: PooledConnection, uuids: Sequence[str]) -> dict[str, TaskState]:
        """Return the states of those tasks that have one."""
        found: dict[str, TaskState] = {}
        unknown = list(dict.fromkeys(uuids))
        for pause in (0.0, *REREAD_DELAYS_S):
            if pause:
                time.sleep(pause)
            empty: list[str] = []
            for start in range(0, len(unknown), MAX_HELD_MESSAGES):
                found.update(
                    self._look(connection.channel, unknown[start : start + MAX_HELD_MESSAGES], empty)
                )
            unknown = [uuid for uuid in empty if uuid not in found]
            if not unknown:
                break
        return found

    def _look(self, channel: ResultChannel, uuids: Sequence[str], empty: list[str]) -> dict[str, TaskState]:
        """Read each queue once. ``empty`` gets the UUIDs whose queue exists, but whose state is unknown."""
        found: dict[str, TaskState] = {}
        for uuid, messages in browse(channel, uuids).items():
            state = self._newest(channel, uuid, messages) if messages else self._read_states.get(uuid)
            if state is not None and (messages is not None or state.final):
                found[uuid] = state
            elif messages is not None:
                empty.append(uuid)
        return found

    def _newest(self, channel: ResultChannel, uuid: str, messages: Sequence[FetchedState]) -> TaskState:
        try:
            states = [decode_state(message.body) for message in messages]
        except RemoteProtocolError as exc:
            for message in messages:
                channel.basic_reject(message.tag, requeue=True)
            raise BackendError(f"task {uuid}: the stored value is no TaskState: {exc}") from exc
        best = newest(states)
        for i, message in enumerate(messages):
            if i != best and message.tag:
                channel.basic_ack(message.tag)
        if messages[best].tag:
            channel.basic_reject(messages[best].tag, requeue=True)
        self._read_states.put(uuid, states[best], len(messages[best].body) + STATE_OVERHEAD_BYTES)
        return states[best]


def newest(states: Sequence[TaskState]) -> int:
    """Return the place of the state that counts, among a task's states in the order in which they were written.

    RECEIVED and STARTED after SUCCESS or FAILURE come from a late redelivery.
    """
    best = 0
    for i, state in enumerate(states):
        if not (states[best].final and state.State in (RECEIVED, STARTED)):
            best = i
    return best


def browse(channel: ResultChannel, queues: Sequence[str]) -> dict[str, list[FetchedState] | None]:
    """Get all messages of each queue, unacked until the caller settles them; None for a queue that does not exist.

    A tag is 0 if RabbitMQ has requeued the message already: a missing queue is an error of the whole channel.
    """
    found: dict[str, list[FetchedState] | None] = {}
    todo = list(queues)
    while todo:
        asked, heads = todo, list[FetchedState]()
        try:
            heads = channel.get_each(asked)
            asked = [queue for queue, head in zip(todo, heads, strict=True) for _ in range(head.left)]
            rest = channel.get_each(asked)
        except amqp.NotFound:
            answered = channel.answers
            channel.prepare()
            found[asked[len(answered)]] = None
            for queue, head in zip(todo, heads or answered, strict=False):
                if not head.left:  # the queue has no further messages
                    found.setdefault(queue, [head._replace(tag=0)] if head.tag else [])
            todo = [queue for queue in todo if queue not in found]
            continue
        messages = {queue: [head] if head.tag else [] for queue, head in zip(todo, heads, strict=True)}
        for queue, got in zip(asked, rest, strict=True):
            if got.tag:
                messages[queue].append(got)
        found.update(messages)
        break
    return found
