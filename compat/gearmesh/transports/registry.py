"""From a broker URL to a kombu connection. Only what a URL names is imported: a worker starts twice as fast."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final

import kombu

from gearmesh.config import Config, RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.transports.client import Client
from gearmesh.transports.ledger import Ledger, consumer_name
from gearmesh.urls import AMQPTarget, PlainTarget, RedisTarget, parse, redact

__all__ = ["connect", "open_connection", "open_ledger"]

AMQP: Final = "gearmesh.transports.amqp:Transport"
MEMORY: Final = "gearmesh.transports.memory:Transport"
REDIS: Final = "gearmesh.transports.redis:Transport"
REDIS_CLUSTER: Final = "gearmesh.transports.redis:ClusterTransport"


def connect(
    config: Config, *, consumer: str | None = None, attempt: int = 0, **options: Any
) -> kombu.Connection:
    """A connection to an app's broker, with all settings that its transport needs.

    Args:
        config: the app's.
        consumer: see :func:`open_connection`.
        attempt: which of several broker URLs: they are taken in turn.
        options: the transport's options besides those that follow from ``config``.

    Raises:
        ConfigError: as :func:`open_connection`.
    """
    url = config.brokers[attempt % len(config.brokers)]
    settings = {
        "lease": config.lease,
        "delayed_key": config.delayed_tasks_key,
        "delayed_poll": config.delayed_poll,
        "default_queue": config.default_queue,
        "redis": config.redis,
        "amqp": config.amqp,
        "patience": config.publish_timeout,
    }
    return open_connection(url, consumer=consumer, options=settings | options)


def open_ledger(config: Config, consumer: str | None = None) -> Ledger:
    """What a worker hands to all its connections as the option ``ledger``: they hold deliveries in common.

    Args:
        consumer: the name it consumes under, unique to one incarnation of one process; None: a fresh one.
    """
    target = parse(config.brokers[0], "broker")
    if isinstance(target, AMQPTarget):
        from gearmesh.transports.amqp.ledger import LEDGERS

        return LEDGERS.get(consumer or consumer_name())
    if isinstance(target, RedisTarget):
        from gearmesh.transports.redis.ledger import Ledger as RedisLedger

        return RedisLedger(consumer)
    return Ledger(consumer)


def open_connection(
    url: str, *, consumer: str | None = None, options: Mapping[str, Any] | None = None
) -> kombu.Connection:
    """A kombu connection (not connected yet) whose channels have the verbs of :mod:`.base`.

    Args:
        url: ``redis://…``, ``rediss://…``, ``redis+socket://…``, ``memory://NAME``, or the scheme of an
            entry point in the group ``gearmesh.transports``: a callable ``(url, *, consumer, options)``
            that returns such a connection.
        consumer: the name its channels consume under, unique to one incarnation of one process.
            None: the transport makes one.
        options: the transport's options; ``lease`` (seconds) is known to all, ``redis`` (a RedisConfig) to Redis.

    Raises:
        ConfigError: the URL is wrong, or nobody knows its scheme.
    """
    target = parse(url, "broker")
    chosen = dict(options or {})
    if consumer is not None:
        chosen["consumer"] = consumer
    if isinstance(target, RedisTarget):
        from gearmesh.redis_scripts.access import Access

        access = Access(target, chosen.pop("redis", None) or RedisConfig())
        transport = REDIS_CLUSTER if access.topology == "cluster" else REDIS
        chosen = access.timeouts | chosen | {"access": access}
        return Client(transport=transport, transport_options=chosen, **target.to_kombu())
    if isinstance(target, AMQPTarget):
        return Client(transport=AMQP, transport_options=chosen, **target.to_kombu())
    if isinstance(target, PlainTarget) and target.scheme == "memory":
        from gearmesh.transports.memory.broker import BROKERS

        # The connection keeps its broker, also while it is closed.
        chosen.setdefault("broker", BROKERS.get(target.rest.strip("/")))
        return Client(f"memory://{target.rest}", transport=MEMORY, transport_options=chosen)
    if isinstance(target, PlainTarget):
        return _plugin(url, target, consumer, options or {})
    raise ConfigError(f"broker: {redact(url)!r} is no broker that one can connect to")


def _plugin(
    url: str, target: PlainTarget, consumer: str | None, options: Mapping[str, Any]
) -> kombu.Connection:
    for point in entry_points(group="gearmesh.transports", name=target.scheme):
        connection: kombu.Connection = point.load()(url, consumer=consumer, options=options)
        return connection
    raise ConfigError(f"broker: {target.scheme!r} is no broker that one can connect to")
