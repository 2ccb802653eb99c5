"""Refuses equal names that must differ: two things under one name would spoil each other in the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from gearmesh.config.amqp import AMQPConfig
from gearmesh.config.cloud import DynamoDBConfig
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, RedisTarget, parse

__all__ = ["MUTEX", "PREFIX", "check_names", "check_queue"]

#: The beginning of all keys, queues and exchanges that gearmesh makes for itself.
PREFIX: Final = "gearmesh:"
#: Go: the key by which its workers keep each other from a chord.
MUTEX: Final = "TriggerChordMutex"


class NamedParts(Protocol):
    """The settings of a Config that name something in a broker or a database."""

    @property
    def brokers(self) -> Sequence[str]: ...
    @property
    def default_queue(self) -> str: ...
    @property
    def delayed_tasks_key(self) -> str: ...
    @property
    def amqp(self) -> AMQPConfig: ...
    @property
    def dynamodb(self) -> DynamoDBConfig: ...


def check_names(config: NamedParts) -> None:
    """Refuse two equal names that must differ, with a ConfigError that names both settings."""
    check_queue(config, config.default_queue, "default_queue", reads=True)
    target = parse(config.brokers[0], "broker")
    if isinstance(target, RedisTarget):
        _check_reserved("delayed_tasks_key", config.delayed_tasks_key, "key")
    if isinstance(target, AMQPTarget):
        _check_reserved("amqp.exchange", config.amqp.exchange, "exchange")
        _check_reserved("amqp.delayed_queue", config.amqp.delayed_queue, "queue")
    tables = config.dynamodb
    if tables.task_states_table == tables.group_metas_table:
        raise _equal(
            "dynamodb.task_states_table", tables.task_states_table, "dynamodb.group_metas_table", "the table"
        )


def check_queue(config: NamedParts, queue: str, called: str = "queue", *, reads: bool = False) -> None:
    """Refuse a queue whose name the broker uses for another thing.

    Args:
        config: the app's settings.
        queue: its name.
        called: the setting or argument that names it.
        reads: True for a queue that a worker reads, False for one that messages are sent to.

    Raises:
        ConfigError: the message names the queue, and the setting that has the same name.
    """
    target = parse(config.brokers[0], "broker")
    amqp = config.amqp
    if isinstance(target, RedisTarget):
        if queue == config.delayed_tasks_key:
            raise _equal(called, queue, "delayed_tasks_key", "the key of the delayed tasks")
        _check_reserved(called, queue, "key")
    elif isinstance(target, AMQPTarget):
        if queue == amqp.delayed_queue:
            raise _equal(called, queue, "amqp.delayed_queue", "the queue of the delayed tasks")
        direct = amqp.exchange_type == "direct"
        if reads and direct and queue == amqp.binding_key and queue != config.default_queue:
            what = (
                f"the key of the default queue, {config.default_queue!r}: its tasks would be in both queues"
            )
            raise _equal(called, queue, "amqp.binding_key", what)
        _check_reserved(called, queue, "queue")


def _equal(called: str, name: str, other: str, what: str) -> ConfigError:
    return ConfigError(f"{called} and {other} are both {name!r}, expected two names: {other} is {what}")


def _check_reserved(called: str, name: str, kind: str) -> None:
    if name.startswith(PREFIX):
        raise ConfigError(
            f"{called} is {name!r}, expected a name that does not begin as gearmesh's own do ({PREFIX})"
        )
    if kind == "key" and name == MUTEX:
        raise ConfigError(f"{called} is {name!r}, which is a key of Machinery's own; expected another name")
