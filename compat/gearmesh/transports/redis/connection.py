"""The base of the Redis channels: kombu's channel with gearmesh's connections, and the state that its parts use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
from kombu.transport import redis as kombu_redis

from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.redis_client import connections
from gearmesh.redis_client.commit_script import CommitScript
from gearmesh.redis_client.connection_settings import ConnectionSettings
from gearmesh.redis_client.replicas import Replicas
from gearmesh.redis_client.runner import run
from gearmesh.redis_client.wrong_type import TypeCheckingRedis
from gearmesh.transports.queue_order import QueueOrder
from gearmesh.transports.redis.message import target_queue
from gearmesh.transports.redis.queue_faults import QueueFaults
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries
from gearmesh.wire.names import DEFAULT_QUEUE, DELAYED_TASKS, QueueKeys

__all__ = ["ConnectedChannel"]

#: Parameters that a connection over a Unix socket does not take.
TCP_ONLY = ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options")


class ConnectedChannel(kombu_redis.Channel):  # type: ignore[misc]
    """kombu's Redis channel with gearmesh's connections; the base of :class:`~.channel.Channel`.

    The parts of a channel know it as this class: they use its connections, its unacked deliveries and its Commits.

    Transport options beyond kombu's: ``access`` (an
    :class:`~gearmesh.redis_client.connection_settings.ConnectionSettings`; None: the connection's URL names the
    server), ``consumer`` (name), ``unacked`` (a :class:`RedisUnackedDeliveries` to go on with; the channel then leaves
    unsettled deliveries alone when it closes), ``lease`` (seconds), ``delayed_key``, ``delayed_poll`` (seconds),
    ``default_queue`` (for delayed messages without a RoutingKey), ``heartbeats`` (False where another process sends
    them), ``queue_order`` (see :data:`~gearmesh.transports.queue_order.QueueOrder`).
    """

    connection_class = connections.Connection
    connection_class_ssl = connections.SSLConnection
    socket_timeout = 15.0
    socket_connect_timeout = 15.0
    socket_keepalive = True
    max_connections = 1000

    access: ConnectionSettings | None = None
    consumer: str = ""
    #: from the option; without it, the channel is a consumer of its own, and makes the record
    unacked: RedisUnackedDeliveries
    lease: float = 30.0
    delayed_key: str = DELAYED_TASKS
    delayed_poll: float = 0.5
    default_queue: str = DEFAULT_QUEUE
    heartbeats: bool = True
    queue_order: QueueOrder = "fair"

    from_transport_options = (
        *kombu_redis.Channel.from_transport_options,
        *("access", "consumer", "unacked", "lease", "delayed_key", "delayed_poll", "default_queue"),
        *("heartbeats", "queue_order"),
    )

    redis: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._keys: dict[str, QueueKeys] = {}
        #: queues from which to fetch, since they are not known to be empty
        self.ready: set[str] = set()
        #: queues from which a wait has moved a message to this consumer since the last fetch
        self.arrived: set[str] = set()
        #: queues whose messages are settled before a callback gets them
        self.no_ack: set[str] = set()
        self.faults = QueueFaults()
        self._atomic = False
        super().__init__(*args, **kwargs)
        self._own_consumer = "unacked" not in vars(self)
        if self._own_consumer:
            self.unacked = RedisUnackedDeliveries(self.consumer or None)
        self.consumer = self.unacked.consumer
        self._replicas = self.access.replicas if self.access is not None else Replicas()
        self._script = self._own_script()

    @property
    def active_queues(self) -> list[str]:
        """The queues with consumers, each once, in the order of the consumers; without fanout queues."""
        fanout = self.active_fanout_queues
        return [queue for queue in dict.fromkeys(self._active_queues) if queue not in fanout]

    def keys(self, queue: str) -> QueueKeys:
        keys = self._keys.get(queue)
        if keys is None:
            keys = self._keys[queue] = QueueKeys(queue)
        return keys

    # -- commits

    def enlist(self, backend: Any) -> bool:
        script = getattr(backend, "atomic_script", None)
        if script is None:
            return False
        atomic: CommitScript | None = script(
            self.redis, keys=self.keys, delayed=self.delayed_key, replicas=self._replicas
        )
        if atomic is not None:
            self._script = atomic
            self._atomic = True
        return self._atomic

    def commit(self, commits: Sequence[Commit], *, token: Token | None = None) -> list[Outcome]:
        outcomes = self._script.commit(self.redis, commits, token=token, atomic=self._atomic)
        forget = self.unacked.open.pop
        for commit, outcome in zip(commits, outcomes, strict=True):
            settle = commit.settle
            # A delivery that is settled as "keep" is still held: if we forgot it, reclaim_unknown would deliver it
            # again.
            if settle is not None and (
                outcome == "lost" or (outcome in ("done", "expired") and settle.how != "keep")
            ):
                forget(settle.delivery.id, None)
                if settle.how in ("park", "later"):
                    self.unacked.set_aside()
        return outcomes

    # -- methods that the channel of a cluster replaces

    def _own_script(self) -> CommitScript:
        """Make the script that carries out Commits while no backend is enlisted."""
        return CommitScript(keys=self.keys, expire=3600, delayed=self.delayed_key, replicas=self._replicas)

    def moved(self) -> None:
        """Note that a server has redirected this channel to another one."""

    def move_due(self, due: Sequence[bytes]) -> None:
        """Move due messages from the delayed set to their queues."""
        rest = self.keys(self.default_queue)
        moves = msgpack.packb([(body, target_queue(body, rest.queue)) for body in due], use_bin_type=False)
        run(self.redis, "move", [self.delayed_key], [moves, rest.queue, rest.dead, rest.dead_entry])

    def finish_outboxes(self) -> None:
        """Send the messages that other consumers have left in outboxes. (Only a cluster has these.)"""

    def _open(self) -> Any:
        """Make the client for commands that do not block."""
        # It keeps one connection: a pool would look at the socket before each command, and give up the GIL each time.
        return TypeCheckingRedis(connection_pool=self.pool, single_connection_client=True)

    def socket_to(self, queue: str) -> Any:
        """Return the socket to the server of ``queue``: another object after each new connection, None without one."""
        return self.redis.connection._sock

    def wait_pool(self, queue: str) -> Any:
        """Return the pool of connections that wait for ``queue``."""
        return self.async_pool

    def _drop_kept(self) -> None:
        """Close the connection of :meth:`_open`."""
        self.redis.connection.disconnect()

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        # kombu gives the path of a Unix socket as the host, and uses its own class for it in place of the channel's.
        host = params.get("host") or ""
        if self.access is not None or host.startswith("/"):
            for name in ("host", "port"):
                params.pop(name, None)
            params |= {"path": host} if self.access is None else self.access.place()
        if "path" in params:
            for name in TCP_ONLY:
                params.pop(name, None)
            params["connection_class"] = connections.UnixConnection
        params["connection_class"] = self._watched(params["connection_class"], asynchronous)
        return params

    def _watched(self, kind: Any, watched: bool) -> Any:
        """Return a class of connections that tell kombu when they are closed; if not ``watched``, return ``kind``."""
        channel = self

        class Watched(kind):  # type: ignore[misc]
            def disconnect(self, *args: Any, **kwargs: Any) -> None:
                super().disconnect(*args, **kwargs)
                if channel._registered:
                    channel._on_connection_disconnect(self)

        return Watched if watched else kind
