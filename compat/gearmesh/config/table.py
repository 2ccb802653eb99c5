"""The table of all settings: their names in files and in the environment, and their kinds of values.

The docstrings of the Config and its sections say what each means, docs/configuration.md does so for users. A path
is the place of a setting in a :class:`~gearmesh.config.Config`, with a dot between section and name:
``redis.read_timeout``. Machinery's names are facts of the wire; ours in the environment begin with ``GEARMESH_``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gearmesh.config import kinds
from gearmesh.config.kinds import Kind

__all__ = ["FILE_NAMES", "SECTIONS", "SETTINGS", "Name", "Setting"]


@dataclass(frozen=True, slots=True)
class Name:
    """A name under which a value may be given.

    Attributes:
        file: the name in a file, with its section before a dot.
        env: the name in the environment; ``""``: none.
        kind: the kind of value that it takes.
        read: converts that to the setting's own value; it returns None for a value that sets nothing.
    """

    file: str
    env: str
    kind: Kind
    read: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        path: its place in a Config.
        kind: the kind of its value.
        names: the names under which it may be given; the first is the one to write.
        idle: the reason why it has no effect here; ``""`` if it has one.
        live: a change takes effect while programs run.
        role: the role of a URL: "broker", "backend" or "lock"; ``""``: it is no URL.
        secret: its value is never shown.
    """

    path: str
    kind: Kind
    names: tuple[Name, ...]
    idle: str = ""
    live: bool = False
    role: str = ""
    secret: bool = False


def _ours(
    path: str,
    kind: Kind,
    *,
    env: str = "",
    file: str = "",
    given: tuple[Kind, Callable[[Any], Any]] | None = None,
    alias: Name | None = None,
    **more: Any,
) -> Setting:
    """Make a setting of gearmesh's own: its variable is ``GEARMESH_`` and its path in capitals."""
    first = Name(file or path, env or f"GEARMESH_{_variable(path)}", *(given or (kind,)))
    ours = (Name(path, "", kind),) if file else ()
    return Setting(path, kind, (first, *ours, *([alias] if alias else ())), **more)


def _go(path: str, kind: Kind, *, env: str = "", **more: Any) -> Setting:
    """Make a setting of Machinery's: its variable is its path in capitals, or ``env`` where Machinery has another."""
    return _ours(path, kind, env=env or _variable(path), **more)


def _variable(path: str) -> str:
    return path.replace(".", "_").upper()


def _milliseconds(value: int) -> float | None:
    return value / 1000 or None  # Go: 0 is the default


def _text(value: str) -> str | None:
    return value or None  # Go: "" is the default


_POOL: Final = "connections here are few, and kept"

_ROWS: Final = (
    _go("broker", kinds.TEXT, role="broker"),
    _go("backend", kinds.TEXT, env="RESULT_BACKEND", file="result_backend", role="backend"),
    _go("lock", kinds.OPTIONAL_TEXT, given=(kinds.ANY_TEXT, _text), role="lock"),
    _ours("lock_executable", kinds.ANY_TEXT),
    _ours("lock_machinery", kinds.MACHINERY),
    _go("multiple_broker_separator", kinds.SEPARATOR, env="MULTIPLE_BROKEN_SEPARATOR"),  # Go: so spelt
    _go("default_queue", kinds.TEXT, live=True),
    _go("results_expire_in", kinds.NUMBER),
    _ours(
        "delayed_tasks_key",
        kinds.TEXT,
        alias=Name("redis.delayed_tasks_key", "REDIS_DELAYED_TASKS_KEY", kinds.ANY_TEXT, _text),
    ),
    _ours(
        "delayed_poll",
        kinds.SECONDS,
        alias=Name(
            "redis.delayed_tasks_poll_period",
            "REDIS_DELAYED_TASKS_POLL_PERIOD",
            kinds.MILLISECONDS,
            _milliseconds,
        ),
    ),
    _ours("lease", kinds.SECONDS),
    _ours("publish_timeout", kinds.MOMENTS, live=True),
    _ours("unregistered_max_age", kinds.MOMENTS),
    _ours("send_concurrency", kinds.NUMBER, live=True),
    _ours("store_tracebacks", kinds.FLAG, live=True),
    _ours("log_level", kinds.LEVEL, live=True),
    _go("no_unix_signals", kinds.FLAG, idle="the library handles no signals; its commands always do"),
    _go("redis.read_timeout", kinds.MOMENTS),
    _go("redis.write_timeout", kinds.MOMENTS),
    _go("redis.connect_timeout", kinds.MOMENTS),
    _go("redis.client_name", kinds.ANY_TEXT),
    _go("redis.master_name", kinds.ANY_TEXT),
    _go(  # the alias is the name in Machinery v1
        "redis.cluster_enabled",
        kinds.FLAG,
        alias=Name("redis.cluster_mode", "REDIS_CLUSTER_MODE", kinds.FLAG),
    ),
    _go("redis.sentinel_password", kinds.ANY_TEXT, secret=True),
    _ours("redis.ca", kinds.ANY_TEXT),
    _ours("redis.cert", kinds.ANY_TEXT),
    _ours("redis.key", kinds.ANY_TEXT),
    _ours("redis.replicas_ack", kinds.NUMBER),
    _ours("redis.replicas_ack_timeout", kinds.SECONDS),
    _go("redis.max_idle", kinds.NUMBER, idle=_POOL),
    _go("redis.max_active", kinds.NUMBER, idle=_POOL),
    _go("redis.max_idle_timeout", kinds.MOMENTS, env="REDIS_IDLE_TIMEOUT", idle=_POOL),
    _go("redis.wait", kinds.FLAG, idle=_POOL),
    _go("redis.normal_tasks_poll_period", kinds.MILLISECONDS, idle="an idle worker is woken by the server"),
    _go("amqp.exchange", kinds.TEXT),
    _go("amqp.exchange_type", kinds.TEXT),
    _go("amqp.queue_declare_args", kinds.DECLARE_ARGS),
    _go("amqp.queue_binding_args", kinds.STRINGS),
    _go("amqp.binding_key", kinds.ANY_TEXT),
    _go("amqp.prefetch_count", kinds.NUMBER, idle="a worker holds what it can run soon"),
    _go("amqp.auto_delete", kinds.FLAG),
    _go("amqp.delayed_queue", kinds.ANY_TEXT),
    _ours("amqp.delay_steps", kinds.NUMBER, idle="delays are not rounded any more"),
    _ours("amqp.heartbeat", kinds.NUMBER),
    _ours("amqp.ca", kinds.ANY_TEXT),
    _ours("amqp.cert", kinds.ANY_TEXT),
    _ours("amqp.key", kinds.ANY_TEXT),
    _go("sqs.receive_wait_time_seconds", kinds.NUMBER, env="SQS_WAIT_TIME_SECONDS"),
    _go("sqs.receive_visibility_timeout", kinds.OPTIONAL_MOMENTS, env="SQS_VISIBILITY_TIMEOUT"),
    _go("sqs.visibility_heartbeat", kinds.FLAG, file="sqs.visibility_hearth_beat"),  # Go: so spelt
    _go("dynamodb.task_states_table", kinds.TEXT, env="TASK_STATES_TABLE"),
    _go("dynamodb.group_metas_table", kinds.TEXT, env="GROUP_METAS_TABLE"),
    _ours("mongodb.database", kinds.TEXT),
    _ours("gcppubsub.max_extension", kinds.MOMENTS),
)
#: All settings by path.
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.path: setting for setting in _ROWS})

#: The names of sections.
SECTIONS: Final = tuple(dict.fromkeys(path.partition(".")[0] for path in SETTINGS if "." in path))

#: Names in a file, to the setting and that name of it.
FILE_NAMES: Final[Mapping[str, tuple[Setting, Name]]] = MappingProxyType(
    {name.file: (setting, name) for setting in SETTINGS.values() for name in setting.names}
)
