"""Makes result backends from their URLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gearmesh.backends.memory import MemoryBackend
from gearmesh.backends.null import NullBackend
from gearmesh.config import DynamoDBConfig, MongoDBConfig, RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.interfaces.backend import Backend
from gearmesh.urls import (
    AMQPTarget,
    DynamoDBTarget,
    MemcacheTarget,
    MongoTarget,
    PlainTarget,
    RedisTarget,
    parse,
)

__all__ = ["open_backend"]


def open_backend(url: str, *, expire: int, options: Mapping[str, Any] | None = None) -> Backend:
    """Make the backend that a URL names. It connects when it is first used.

    Args:
        url: ``redis://…``, ``rediss://…``, ``redis+socket://…``, ``amqp[s]://…``, ``memcache://…``,
            ``mongodb[+srv]://…``, ``https://dynamodb…``, ``http://host:port`` (an emulator of DynamoDB),
            ``memory://NAME``, ``null``, or the scheme of an entry point in the group
            ``gearmesh.backends``: a callable ``(url, *, expire)``.
        expire: seconds for which states live after their last write; 1 or more.
        options: an app's settings for one kind of backend: ``redis`` (a RedisConfig), ``amqp`` (an
            AMQPConfig), ``mongodb`` (a MongoDBConfig), ``dynamodb`` (a DynamoDBConfig).

    Raises:
        ConfigError: the URL or ``expire`` is wrong, or the scheme is not known.
    """
    if expire < 1:
        raise ConfigError(f"result backend: expire is {expire!r}, expected 1 or more seconds")
    target = parse(url, "backend")
    if isinstance(target, RedisTarget):
        from gearmesh.redis_client.connection_settings import ConnectionSettings

        access = ConnectionSettings(target, (options or {}).get("redis") or RedisConfig())
        if access.topology == "cluster":
            from gearmesh.backends.redis_cluster import ClusterBackend

            return ClusterBackend(access, expire=expire)
        from gearmesh.backends.redis import RedisBackend

        return RedisBackend(access, expire=expire)
    if isinstance(target, AMQPTarget):
        from gearmesh.backends.amqp import AMQPBackend

        return AMQPBackend(target, expire=expire, settings=(options or {}).get("amqp"))
    if isinstance(target, MemcacheTarget):
        from gearmesh.backends.memcache import MemcacheBackend

        return MemcacheBackend(target.servers, expire=expire)
    if isinstance(target, MongoTarget):
        from gearmesh.backends.mongodb import MongoBackend

        settings = (options or {}).get("mongodb") or MongoDBConfig()
        return MongoBackend.at(target, database=settings.database, expire=expire)
    if isinstance(target, DynamoDBTarget):
        from gearmesh.backends.dynamodb import DynamoDBBackend

        return DynamoDBBackend(target, (options or {}).get("dynamodb") or DynamoDBConfig(), expire=expire)
    assert isinstance(target, PlainTarget)  # the others are brokers
    if target.scheme == "memory":
        return MemoryBackend(target.rest.strip("/"), expire=expire)
    if target.scheme == "null":
        return NullBackend(expire=expire)
    from importlib.metadata import entry_points

    for point in entry_points(group="gearmesh.backends", name=target.scheme):
        backend: Backend = point.load()(url, expire=expire)
        return backend
    raise ConfigError(f"backend: {target.scheme!r} is no scheme of a result backend")
