"""The channel of a Redis cluster, each queue on a node of its own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from redis import ConnectionPool, Redis

from gearmesh.interfaces.transport import RateRequest
from gearmesh.redis_client.cluster import Address, Cluster
from gearmesh.redis_client.cluster_commits import ClusterCommitScript
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.transports.redis.channel import Channel
from gearmesh.transports.redis.leases import Leases
from gearmesh.transports.redis.message import target_queue
from gearmesh.wire.names import slot_tag

__all__ = ["ClusterChannel"]


class ClusterLeases(Leases):
    """Leases of consumers whose queues are on several nodes."""

    def heartbeat(self, consumer: str, queues: Iterable[str], **how: Any) -> None:
        # A consumer sends its heartbeat to each node that it can reach. If it sent none because one node is
        # unreachable, others would take it for dead. On that node itself no other consumer can miss the heartbeat
        # meanwhile.
        super().heartbeat(consumer, queues, partly=True)

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        answers = [0] * len(requests)
        tags: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            tags.setdefault(slot_tag(request.queue), []).append(i)
        for places in tags.values():
            part = super().reserve([requests[i] for i in places])
            for i, answer in zip(places, part, strict=True):
                answers[i] = answer
        return answers


class ClusterChannel(Channel):
    """A :class:`~.channel.Channel` whose queues are on several nodes; it enlists no backend.

    It keeps one connection a node for commands that do not block, and one a queue for those that do. If a connection
    breaks, the channel is lost, as with a single server; the next channel asks the cluster where the slots are now.
    """

    redis: Cluster
    leases_class = ClusterLeases
    _script: ClusterCommitScript
    _expires: dict[str, int]
    keyprefix_fanout: str

    def _open(self) -> Cluster:
        self.cluster.masters()  # connects
        return self.cluster

    @cached_property
    def cluster(self) -> Cluster:
        assert self.access is not None
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=0)
        self._wait_pools: dict[Address, ConnectionPool] = {}
        return Cluster(self.access.target.nodes, self._connparams(), kept=True)

    def _own_script(self) -> ClusterCommitScript:
        return ClusterCommitScript(keys=self.keys, delayed=self.delayed_key, replicas=self._replicas)

    def enlist(self, backend: Any) -> bool:
        return False

    # -- nodes

    def socket_to(self, queue: str) -> Any:
        try:
            connection = self.redis.node(queue).connection
        except CONNECTION_ERRORS:
            return None
        return connection._sock if connection is not None else None

    def wait_pool(self, queue: str) -> Any:
        return self._pool_at(self.redis.address(queue))

    def _pool_at(self, address: Address) -> ConnectionPool:
        pool = self._wait_pools.get(address)
        if pool is None:
            params = self._connparams(asynchronous=True)
            pool = ConnectionPool(**{**params, "host": address[0], "port": address[1]})
            self._wait_pools[address] = pool
        return pool

    def moved(self) -> None:
        self.redis.stale = True

    def _drop_kept(self) -> None:
        self.cluster.close()

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()
        if "cluster" in vars(self):
            self.cluster.close()
            for pool in self._wait_pools.values():
                pool.disconnect()
            self._wait_pools.clear()

    # -- verbs

    def move_due(self, due: Sequence[bytes]) -> None:
        self._script.take_due(self.redis, [(body, target_queue(body, self.default_queue)) for body in due])

    def finish_outboxes(self) -> None:
        for key in (*self.active_queues, self.delayed_key):
            self._script.finish(self.redis, key)

    # -- kombu's

    def _create_client(self, asynchronous: bool = False) -> Cluster:
        return self.cluster

    @cached_property
    def subclient(self) -> Any:
        """A subscription through any node: Redis passes published messages to all nodes."""
        pool = self._pool_at(random.choice(self.cluster.masters()))
        client: Any = Redis(connection_pool=pool)
        return client.pubsub()

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        # kombu removes the bindings of expired queues by a script over keys of two slots, which a cluster refuses. So
        # the bindings stay.
        expires, self._expires = self._expires, {}
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        finally:
            self._expires = expires

    def maybe_refresh_binding_expiry(self) -> None:
        pass
