"""The table of all settings: their names in files and in the environment, and their kinds of values.

The docstrings of the Config and its sections explain each setting, and docs/reference/configuration.md does so for
users. A path is the place of a setting in a :class:`~gearmesh.config.Config`, with a dot between section and name:
``redis.read_timeout``. Machinery has defined the names of its settings. gearmesh's own begin with ``GEARMESH_`` in the
environment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from gearmesh.log_levels import LEVELS

__all__ = ["FILE_NAMES", "SECTIONS", "SETTINGS", "Kind", "Name", "Setting"]


_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_RELEASE = re.compile(r" *v?(?:1\.(?:[6-9]|[1-9][0-9]{1,2})|2\.[0-9]{1,3})\.[0-9]{1,3} *")
#: Go: strconv.ParseBool.
_FLAGS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


class Kind(NamedTuple):
    """Describes one kind of value: its words in errors, its check, and its form as text.

    Attributes:
        expected: the words behind "expected" in an error.
        fits: a function that returns True for a correct value.
        parse: a function that reads a text; it raises ValueError or KeyError. Its value is checked with ``fits``.
        textual: True: a scalar in a file is read as text: ``007`` is not a number.
    """

    expected: str
    fits: Callable[[Any], bool]
    parse: Callable[[str], Any]
    textual: bool = False


def _is_number(value: Any, *, above_zero: bool = False) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return number and value >= 0 and not (above_zero and value == 0)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _pairs(text: str) -> dict[str, str]:
    """Read ``k:v,k:v``, as Machinery's envconfig decoder does."""
    pairs = [pair.split(":") for pair in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(text)
    return {pair[0]: pair[1] for pair in pairs}


def _typed(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


TEXT = Kind("text that is not empty", lambda value: isinstance(value, str) and bool(value), str, textual=True)
ANY_TEXT = Kind("text", lambda value: isinstance(value, str), str, textual=True)
OPTIONAL_TEXT = TEXT._replace(fits=lambda value: value is None or TEXT.fits(value))
#: A separator with one of these characters would cut URLs and passwords in two.
SEPARATOR = Kind(
    "text without '@', ':' and '/'",
    lambda value: isinstance(value, str) and not set(value) & set("@:/"),
    str,
    textual=True,
)
NUMBER = Kind("a whole number, 0 or more", _is_whole, _integer)
#: Go's module is machinery or machinery/v2.
MACHINERY = Kind("1 or 2", lambda value: _is_whole(value) and value in (1, 2), _integer)
#: gearmesh was not tested with releases before v1.6.
RELEASES = Kind(
    "releases of Machinery from v1.6.0 or v2.0.0 on, such as v1.8.8, or v1.10.8,v2.0.10",
    lambda value: isinstance(value, str) and all(map(_RELEASE.fullmatch, value.split(",") if value else ())),
    str,
    textual=True,
)
MILLISECONDS = Kind("a whole number of milliseconds, 0 or more", _is_whole, _integer)
MOMENTS = Kind("seconds, 0 or more", _is_number, float)
SECONDS = Kind("seconds above 0", lambda value: _is_number(value, above_zero=True), float)
OPTIONAL_MOMENTS = MOMENTS._replace(fits=lambda value: value is None or _is_number(value))
FLAG = Kind("true or false", lambda value: isinstance(value, bool), _FLAGS.__getitem__)
LEVEL = Kind(
    f"one of {', '.join(LEVELS)}",
    lambda value: value in ("", *LEVELS),
    lambda text: text.upper(),
    textual=True,
)
#: Go: reads arguments of bindings from the environment as strings.
STRINGS = Kind("names and values such as x-match:any,format:png", _is_table, _pairs)
#: Go: reads arguments of declarations from the environment as nil. RabbitMQ needs numbers as numbers.
DECLARE_ARGS = Kind(
    "names and values such as x-max-priority:10,x-queue-mode:lazy",
    _is_table,
    lambda text: {key: _typed(value) for key, value in _pairs(text).items()},
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name under which a value may be set.

    Attributes:
        file: the name in a file, with its section before a dot.
        env: the name in the environment; ``""``: it has none.
        kind: the kind of value under this name.
        read: a function that converts the value to the setting's own; it returns None for a value that sets nothing.
            None: they are the same.
    """

    file: str
    env: str
    kind: Kind
    read: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """Describes one setting: its place in a Config, its kind, and its names.

    Attributes:
        path: its place in a Config.
        kind: the kind of its value.
        names: the names under which it may be set; the first is the preferred one.
        idle: the reason why it has no effect in gearmesh; ``""``: it has an effect.
        live: True: a change takes effect while programs run.
        role: the role of a URL: "broker", "backend" or "lock"; ``""``: it is not a URL.
        secret: True: its value is never shown.
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
    """Make a setting of Machinery's: its variable is its path in capitals, or ``env`` if Machinery has another."""
    return _ours(path, kind, env=env or _variable(path), **more)


def _in_code(path: str, method: str) -> Setting:
    """Make a setting that only code can set: a client that has ``method``, or a function that makes one."""

    def fits(value: Any) -> bool:
        return value is None or hasattr(value, method) or callable(value)

    def parse(text: str) -> Any:
        raise ValueError(text)

    kind = Kind(f"a client (with a method {method}) or a function that makes one, in code", fits, parse)
    return Setting(path, kind, (Name(path, "", kind),))


def _variable(path: str) -> str:
    return path.replace(".", "_").upper()


def _milliseconds(value: int) -> float | None:
    return value / 1000 or None  # Go: 0 is the default


def _text(value: str) -> str | None:
    return value or None  # Go: "" is the default


_POOL: Final = "gearmesh needs few connections, and keeps them open"

_ROWS: Final = (
    _go("broker", TEXT, role="broker"),
    _go("backend", TEXT, env="RESULT_BACKEND", file="result_backend", role="backend"),
    _go("lock", OPTIONAL_TEXT, given=(ANY_TEXT, _text), role="lock"),
    _ours("lock_executable", ANY_TEXT),
    _ours("lock_machinery", MACHINERY),
    _ours("machinery_release", RELEASES),
    _go("multiple_broker_separator", SEPARATOR, env="MULTIPLE_BROKEN_SEPARATOR"),  # Go: so spelt
    _go("default_queue", TEXT, live=True),
    _go("results_expire_in", NUMBER),
    _ours(
        "delayed_tasks_key",
        TEXT,
        alias=Name("redis.delayed_tasks_key", "REDIS_DELAYED_TASKS_KEY", ANY_TEXT, _text),
    ),
    _ours(
        "delayed_poll",
        SECONDS,
        alias=Name(
            "redis.delayed_tasks_poll_period",
            "REDIS_DELAYED_TASKS_POLL_PERIOD",
            MILLISECONDS,
            _milliseconds,
        ),
    ),
    _ours("lease", SECONDS),
    _ours("publish_timeout", MOMENTS, live=True),
    _ours("unregistered_max_age", MOMENTS),
    _ours("send_concurrency", NUMBER, live=True),
    _ours("store_tracebacks", FLAG, live=True),
    _ours("store_failed_messages", FLAG, live=True),
    _ours("log_level", LEVEL, live=True),
    _ours("history", FLAG),
    _ours("remote_control", FLAG),
    _go("no_unix_signals", FLAG, idle="the library handles no signals; its commands always do"),
    _go("redis.read_timeout", MOMENTS),
    _go("redis.write_timeout", MOMENTS),
    _go("redis.connect_timeout", MOMENTS),
    _go("redis.client_name", ANY_TEXT),
    _go("redis.master_name", ANY_TEXT),
    _go(  # the alias is the name in Machinery v1
        "redis.cluster_enabled",
        FLAG,
        alias=Name("redis.cluster_mode", "REDIS_CLUSTER_MODE", FLAG),
    ),
    _go("redis.sentinel_password", ANY_TEXT, secret=True),
    _ours("redis.ca", ANY_TEXT),
    _ours("redis.cert", ANY_TEXT),
    _ours("redis.key", ANY_TEXT),
    _ours("redis.replicas_ack", NUMBER),
    _ours("redis.replicas_ack_timeout", SECONDS),
    _go("redis.max_idle", NUMBER, idle=_POOL),
    _go("redis.max_active", NUMBER, idle=_POOL),
    _go("redis.max_idle_timeout", MOMENTS, env="REDIS_IDLE_TIMEOUT", idle=_POOL),
    _go("redis.wait", FLAG, idle=_POOL),
    _go("redis.normal_tasks_poll_period", MILLISECONDS, idle="the server wakes an idle worker"),
    _go("amqp.exchange", TEXT),
    _go("amqp.exchange_type", TEXT),
    _go("amqp.queue_declare_args", DECLARE_ARGS),
    _go("amqp.queue_binding_args", STRINGS),
    _go("amqp.binding_key", ANY_TEXT),
    _go("amqp.prefetch_count", NUMBER, idle="a worker holds as many messages as it can run soon"),
    _go("amqp.auto_delete", FLAG),
    _go("amqp.delayed_queue", ANY_TEXT),
    _ours("amqp.delay_steps", NUMBER, idle="delays are not rounded any more"),
    _ours("amqp.heartbeat", NUMBER),
    _ours("amqp.ca", ANY_TEXT),
    _ours("amqp.cert", ANY_TEXT),
    _ours("amqp.key", ANY_TEXT),
    _go("sqs.receive_wait_time_seconds", NUMBER, env="SQS_WAIT_TIME_SECONDS"),
    _go("sqs.receive_visibility_timeout", OPTIONAL_MOMENTS, env="SQS_VISIBILITY_TIMEOUT"),
    _go(
        "sqs.visibility_heartbeat",
        FLAG,
        file="sqs.visibility_hearth_beat",  # Go: so spelt
        idle="a message is always hidden for as long as its worker holds it",
    ),
    _ours("sqs.create_queues", FLAG),
    _in_code("sqs.client", "receive_message"),
    _go("dynamodb.task_states_table", TEXT, env="TASK_STATES_TABLE"),
    _go("dynamodb.group_metas_table", TEXT, env="GROUP_METAS_TABLE"),
    _in_code("dynamodb.client", "batch_get_item"),
    _ours("mongodb.database", TEXT),
    _ours("gcppubsub.max_extension", MOMENTS),
    _ours("gcppubsub.dead_letter_topic", ANY_TEXT),
    _ours("gcppubsub.dead_letter_subscription", ANY_TEXT),
    _ours("gcppubsub.delay_topic", ANY_TEXT),
    _ours("gcppubsub.delay_subscription", ANY_TEXT),
    _ours("gcppubsub.create", FLAG),
    _in_code("gcppubsub.client", "transport"),
)
#: All settings by path.
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.path: setting for setting in _ROWS})

#: The names of sections.
SECTIONS: Final = tuple(dict.fromkeys(path.partition(".")[0] for path in SETTINGS if "." in path))

#: By its name in a file, each setting, and the Name.
FILE_NAMES: Final[Mapping[str, tuple[Setting, Name]]] = MappingProxyType(
    {name.file: (setting, name) for setting in SETTINGS.values() for name in setting.names}
)
