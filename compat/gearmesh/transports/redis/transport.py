"""The kombu transport for Redis: one poller for all its channels."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from gearmesh.errors import ConfigError
from gearmesh.redis_client.connections import ServerUnable
from gearmesh.transports.redis.channel import Channel
from gearmesh.transports.redis.cluster import ClusterChannel
from gearmesh.transports.redis.poller import Poller

__all__ = ["ClusterTransport", "Transport"]

log = logging.getLogger("gearmesh.redis")

MIN_VERSION = (6, 2)

_WRONG_MODE = {
    "cluster": "this is a node of a Redis cluster: name several of its hosts in the URL (redis://host:port,host:port), "
    "or set redis.cluster_enabled",
    "sentinel": "this is a sentinel: set redis.master_name to the name by which it knows the master",
    "standalone": "this Redis is no node of a cluster, but the URL has several hosts, or redis.cluster_enabled is set",
}


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """Connects kombu to Redis, in Machinery's layout. Use it with ``kombu.Connection(transport=Transport)``."""

    Channel = Channel
    #: the ``redis_mode`` of the servers that this transport is for
    mode = "standalone"
    # kombu includes KeyError because of a race in its own poller. Here it would hide an error of gearmesh's.
    connection_errors = tuple(
        error for error in kombu_redis.Transport.connection_errors if error is not KeyError
    )
    supports_batch_publish = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
        #: the policy by which the server may drop messages; "": none; None: the server was not asked yet
        self._eviction: str | None = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait for messages and deliver them.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds (None: no limit), or ``wake()`` was called.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self.cycle.step(left):
                return
            woken = [channel for channel in self.channels if getattr(channel, "woken", False)]
            for channel in woken:
                channel.woken = False
            if woken or left == 0:
                raise TimeoutError

    def _deliver(self, message: Any, queue: str) -> None:
        callback = self._callbacks.get(queue)
        if callback is not None:  # else a fanout message came while its consumer was cancelled
            callback(message)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Join kombu's event loop: deliveries happen in its ticks. Joining again replaces the first registration."""
        self.cycle.leave_loop()
        options = connection.client.transport_options
        self.cycle.join_loop(loop, options.get("health_check_interval") or Channel.health_check_interval)

    def check_server(self, client: Any) -> None:
        """Check once that the server is of the right version, mode and role.

        Raises:
            ConfigError: the server is older than Redis 6.2, or of another mode than the settings say.
            ServerUnable: the server is a replica, and the app has other brokers. (Option ``master_only``.)
        """
        if self._eviction is not None:
            return
        try:
            info = client.info()
        except ResponseError as exc:
            log.debug("the server does not show its version: %s", exc)
            info = {}
        mode = str(info.get("redis_mode", self.mode))
        if mode != self.mode:
            raise ConfigError(f"broker: {_WRONG_MODE.get(mode, f'this is Redis in mode {mode}')}")
        if info.get("role") == "slave" and self.client.transport_options.get("master_only"):
            raise ServerUnable("this Redis is a replica")
        version = str(info.get("redis_version", "6.2"))
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is not None and tuple(map(int, numbers.groups())) < MIN_VERSION:
            raise ConfigError(f"broker: this is Redis {version}, expected 6.2 or newer")
        policy = str(info.get("maxmemory_policy", ""))
        self._eviction = policy if info.get("maxmemory") and policy.startswith("allkeys") else ""

    def warn_of_eviction(self) -> None:
        """Log once, for consumers, that a full server would drop messages and leases."""
        if self._eviction:
            log.warning(
                "Redis has maxmemory-policy %s: when it is full, it drops waiting and running tasks; "
                "with noeviction it drops none",
                self._eviction,
            )
            self._eviction = ""


class ClusterTransport(Transport):
    """Connects kombu to a Redis cluster, in Machinery's layout. Its channels need the option ``access``."""

    Channel = ClusterChannel
    mode = "cluster"
