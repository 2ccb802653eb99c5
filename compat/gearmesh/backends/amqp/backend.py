"""RabbitMQ as a result backend. docs/reference/amqp.md lists the limits of this layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import amqp
import msgspec

from gearmesh.backends.amqp import group_meta
from gearmesh.backends.amqp.announcing import listening
from gearmesh.backends.amqp.connection_pool import CONNECTION_ERRORS, ConnectionPool, PooledConnection
from gearmesh.backends.amqp.group_claims import GroupClaims
from gearmesh.backends.amqp.layout import Layout
from gearmesh.backends.amqp.states import States
from gearmesh.backends.announcement import hearing
from gearmesh.backends.listener import Listener
from gearmesh.bounded_dict import BoundedDict
from gearmesh.commits.group_cache import GroupCache, leading
from gearmesh.config import AMQPConfig
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import Wake
from gearmesh.process_local import ProcessLocal
from gearmesh.urls import AMQPTarget
from gearmesh.wire.names import AMQP_DONE, chord_triggered_queue, group_meta_queue
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["AMQPBackend"]

#: The largest number of states that a process remembers, and of bytes of their messages.
MAX_CACHED_STATES, MAX_CACHED_BYTES = 10_000, 32 << 20


class AMQPBackend:
    """Keeps states and groups in RabbitMQ, in the layout of Machinery's AMQP backend.

    Args:
        target: the address of RabbitMQ.
        expire: seconds for which a state or a group lives after its last write.
        settings: the backend uses exchange, exchange_type and the settings of TLS.

    Raises:
        ConfigError: ``expire`` is more than Machinery's layout allows, or a file of TLS can't be read.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True

    def __init__(self, target: AMQPTarget, *, expire: int = 3600, settings: AMQPConfig | None = None) -> None:
        settings = settings or AMQPConfig()
        self.expire = expire
        options = settings.connection(target)
        layout = Layout(settings.exchange, settings.exchange_type, expire)
        self._parts = ProcessLocal(lambda: _Parts(options, layout, expire))

    # --- states

    def write(self, states: Sequence[TaskState]) -> None:
        if states:
            parts = self._parts.get()
            with _refusals(), parts.pool.lend() as connection:
                parts.states.write(connection, states)

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        if not uuids:
            return []
        parts = self._parts.get()
        with _refusals(), parts.pool.lend() as connection:
            found = parts.states.read(connection, uuids)
        return [found.get(uuid) for uuid in uuids]

    def touch(self, uuids: Sequence[str]) -> None:
        # The TTL of a message begins when it is published, so a state lives longer only if it is published again.
        self.write([state for state in self.read(uuids) if state is not None])
        for uuid in uuids:
            meta = self.read_group(uuid)
            if meta is not None:
                self.create_group(meta)

    def purge(self, uuids: Sequence[str]) -> None:
        if not uuids:
            return
        parts = self._parts.get()
        with _refusals(), parts.pool.lend() as connection:
            for uuid in uuids:
                parts.read_states.pop(uuid)
                parts.group_cache.forget(uuid)
                for queue in (uuid, group_meta_queue(uuid), chord_triggered_queue(uuid)):
                    connection.channel.queue_delete(queue, nowait=True)
            connection.channel.size("amq.direct")  # wait until RabbitMQ has carried out all before it

    # --- groups

    def create_group(self, meta: GroupMeta) -> None:
        parts = self._parts.get()
        with _refusals(), parts.pool.lend() as connection:
            group_meta.store(connection.channel, parts.layout, meta)

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        parts = self._parts.get()
        with _refusals(), parts.pool.lend() as connection:
            meta = group_meta.read(connection.channel, group_uuid)
            if meta is None or meta.ChordTriggered:
                return meta
            triggered = connection.channel.size(chord_triggered_queue(group_uuid)) is not None
            return msgspec.structs.replace(meta, ChordTriggered=triggered)

    def finished(self, meta: GroupMeta) -> bool:
        return self._parts.get().group_cache.finished(meta, lambda uuids: leading(self.read(uuids)))

    def trigger(self, group_uuid: str, by: str) -> bool:
        with _refusals():
            return self._parts.get().claims.trigger(group_uuid, by)

    # --- groups that are counted

    def counted(self, group_uuid: str, task_uuid: str, again: bool, members: int = 0) -> bool:
        with _refusals():
            return self._parts.get().claims.counted(group_uuid, task_uuid, again, members)

    def count(self, finals: Sequence[tuple[str, TaskState]]) -> None:
        if finals:
            with _refusals():
                self._parts.get().claims.count(finals)

    def gather(
        self, group_uuid: str, members: int, by: str, again: bool, own: TaskState | None = None
    ) -> bool:
        with _refusals():
            return self._parts.get().claims.gather(group_uuid, members, by, again, own)

    def gathered(self, group_uuid: str, by: str) -> list[TaskState] | None:
        with _refusals():
            return self._parts.get().claims.gathered(group_uuid, by)

    def release_group(self, group_uuid: str, by: str, fired: bool) -> None:
        self._parts.get().claims.release_group(group_uuid, by, fired)

    # --- announcements

    def watch(self, wake: Wake) -> Callable[[], None]:
        return self._parts.get().listener.watch(hearing(wake))

    def close(self) -> None:
        if (parts := self._parts.peek()) is not None:
            parts.listener.close()
            parts.claims.close()
            parts.pool.close()


class _Parts:
    """The connections and caches of one process."""

    def __init__(self, options: dict[str, Any], layout: Layout, expire: int) -> None:
        self.layout = layout
        #: the states that were read, in case another reader holds or has consumed their messages
        self.read_states = BoundedDict[str, TaskState](
            MAX_CACHED_STATES, max_bytes=MAX_CACHED_BYTES, ttl_s=expire
        )
        self.states = States(layout, self.read_states)
        self.pool = ConnectionPool(lambda: PooledConnection(options, self.states.prepare))
        self.listener = Listener(listening(options), f"exchange {AMQP_DONE}")
        self.claims = GroupClaims(layout, self.pool, self.states)
        self.group_cache = GroupCache(lambda group_uuid: None)  # the callers of finished() have the meta


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Raise RabbitMQ's refusals as BackendErrors, since it would refuse a repetition, too."""
    try:
        yield
    except amqp.ChannelError as exc:
        if isinstance(exc, amqp.AccessRefused) and "Login" in exc.reply_text:
            raise BackendError(f"RabbitMQ refuses the login of the result backend: {exc.reply_text}") from exc
        raise BackendError(f"RabbitMQ refuses a request of the result backend: {exc}{_way_out(exc)}") from exc


def _way_out(exc: amqp.ChannelError) -> str:
    if "'x-expires'" not in str(exc) and "'x-message-ttl'" not in str(exc):
        return ""
    return (
        " (all programs must let results live equally long: Go's ResultsExpireIn, results_expire_in here, "
        "result_expires of a Celery app, in seconds; Go's default is 3600)"
    )
