"""The table of all settings: their names in files and in the environment, their kinds of values, their meaning.

A path is the place of a setting in a :class:`~gearmesh.config.Config`, with a dot between section and
name: ``redis.read_timeout``. Machinery's names are facts of the wire; ours in the environment
begin with ``GEARMESH_``.
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
        means: its meaning for people, with the unit, and the meaning of 0 or an empty value.
        idle: the reason why it has no effect here; ``""`` if it has one.
        live: a change takes effect while programs run.
        role: the role of a URL: "broker", "backend" or "lock"; ``""``: it is no URL.
        secret: its value is never shown.
    """

    path: str
    kind: Kind
    names: tuple[Name, ...]
    means: str
    idle: str = ""
    live: bool = False
    role: str = ""
    secret: bool = False


def _of(
    path: str,
    kind: Kind,
    means: str,
    *,
    env: str = "",
    file: str = "",
    given: tuple[Kind, Callable[[Any], Any]] | None = None,
    others: tuple[Name, ...] = (),
    **more: Any,
) -> Setting:
    env = env or "GEARMESH_" + path.replace(".", "_").upper()
    ours = (Name(path, "", kind),) if file else ()
    first = Name(file or path, env, *(given or (kind,)))
    return Setting(path, kind, (first, *ours, *others), means, **more)


def _milliseconds(value: int) -> float | None:
    return value / 1000 or None  # Go: 0 is the default


def _text(value: str) -> str | None:
    return value or None  # Go: "" is the default


_POOL: Final = "connections here are few, and kept"

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        setting.path: setting
        for setting in (
            _of("broker", kinds.TEXT, "URL of where messages wait", env="BROKER", role="broker"),
            _of(
                "backend",
                kinds.TEXT,
                "URL of where results live",
                env="RESULT_BACKEND",
                file="result_backend",
                role="backend",
            ),
            _of(
                "lock",
                kinds.OPTIONAL_TEXT,
                "URL of the lock shared by all schedulers; empty: only one scheduler runs",
                env="LOCK",
                given=(kinds.ANY_TEXT, _text),
                role="lock",
            ),
            _of(
                "lock_executable",
                kinds.ANY_TEXT,
                "base name of the Go program whose schedulers share the lock; empty: none does",
            ),
            _of(
                "lock_machinery",
                kinds.MACHINERY,
                "which Machinery that program is built with, 1 or 2",
            ),
            _of(
                "multiple_broker_separator",
                kinds.SEPARATOR,
                "splits `broker` into several URLs, see [below](#several-brokers); empty: it is one",
                env="MULTIPLE_BROKEN_SEPARATOR",  # Go: so spelt
            ),
            _of(
                "default_queue",
                kinds.TEXT,
                "the queue of tasks that name none, and the one a worker reads",
                env="DEFAULT_QUEUE",
                live=True,
            ),
            _of(
                "results_expire_in",
                kinds.NUMBER,
                "how long a result is kept after its last update, in seconds; 0 means 3600",
                env="RESULTS_EXPIRE_IN",
            ),
            _of(
                "delayed_tasks_key",
                kinds.TEXT,
                "Redis key of the tasks that wait for their time, shared with Go",
                others=(Name("redis.delayed_tasks_key", "REDIS_DELAYED_TASKS_KEY", kinds.ANY_TEXT, _text),),
            ),
            _of(
                "delayed_poll",
                kinds.SECONDS,
                "seconds between two looks at the delayed tasks; by Machinery's names milliseconds, and 0: 500",
                others=(
                    Name(
                        "redis.delayed_tasks_poll_period",
                        "REDIS_DELAYED_TASKS_POLL_PERIOD",
                        kinds.MILLISECONDS,
                        _milliseconds,
                    ),
                ),
            ),
            _of("lease", kinds.SECONDS, "seconds of silence after which a worker counts as dead"),
            _of(
                "publish_timeout",
                kinds.MOMENTS,
                "seconds for which a publish is repeated while the broker is away; 0: tried once",
                live=True,
            ),
            _of(
                "unregistered_max_age",
                kinds.MOMENTS,
                "seconds until a message for an unknown name is a dead letter; 0: at once",
            ),
            _of(
                "send_concurrency",
                kinds.NUMBER,
                "connections that send a group's members; 0 or 1: one, in batches",
                live=True,
            ),
            _of(
                "store_tracebacks",
                kinds.FLAG,
                "tracebacks of failed tasks are stored for Python callers; False: only the exception's type is",
                live=True,
            ),
            _of(
                "log_level",
                kinds.LEVEL,
                "of the commands that run until stopped: DEBUG to CRITICAL; empty: INFO",
                live=True,
            ),
            _of(
                "no_unix_signals",
                kinds.FLAG,
                "",
                env="NO_UNIX_SIGNALS",
                idle="the library handles no signals; its commands always do",
            ),
            _of(
                "redis.read_timeout",
                kinds.MOMENTS,
                "seconds for an answer; 0: no limit",
                env="REDIS_READ_TIMEOUT",
            ),
            _of(
                "redis.write_timeout",
                kinds.MOMENTS,
                "seconds for sending; one limit holds for both, the longer one; 0: no limit",
                env="REDIS_WRITE_TIMEOUT",
            ),
            _of(
                "redis.connect_timeout",
                kinds.MOMENTS,
                "seconds for a connection; 0: no limit",
                env="REDIS_CONNECT_TIMEOUT",
            ),
            _of(
                "redis.client_name",
                kinds.ANY_TEXT,
                "what connections call themselves (CLIENT SETNAME); empty: nothing",
                env="REDIS_CLIENT_NAME",
            ),
            _of(
                "redis.master_name",
                kinds.ANY_TEXT,
                "the master's name that sentinels know; empty: no sentinels",
                env="REDIS_MASTER_NAME",
            ),
            _of(
                "redis.cluster_enabled",
                kinds.FLAG,
                "the URL's one host is a cluster's",
                env="REDIS_CLUSTER_ENABLED",
                others=(Name("redis.cluster_mode", "REDIS_CLUSTER_MODE", kinds.FLAG),),  # v1's name
            ),
            _of(
                "redis.sentinel_password",
                kinds.ANY_TEXT,
                "password of the sentinels themselves; empty: none",
                env="REDIS_SENTINEL_PASSWORD",
                secret=True,
            ),
            _of(
                "redis.ca",
                kinds.ANY_TEXT,
                "file of the certificates that `rediss://` trusts; empty: the system's",
            ),
            _of("redis.cert", kinds.ANY_TEXT, "file of this client's certificate; empty: none"),
            _of("redis.key", kinds.ANY_TEXT, "file of its key; empty: it is in the certificate's"),
            _of(
                "redis.replicas_ack",
                kinds.NUMBER,
                "replicas that must have what was written before it counts as done, best all of a master; 0: none",
            ),
            _of(
                "redis.replicas_ack_timeout",
                kinds.SECONDS,
                "seconds for which replicas are waited for, until it is repeated",
            ),
            _of("redis.max_idle", kinds.NUMBER, "", env="REDIS_MAX_IDLE", idle=_POOL),
            _of("redis.max_active", kinds.NUMBER, "", env="REDIS_MAX_ACTIVE", idle=_POOL),
            _of("redis.max_idle_timeout", kinds.MOMENTS, "", env="REDIS_IDLE_TIMEOUT", idle=_POOL),
            _of("redis.wait", kinds.FLAG, "", env="REDIS_WAIT", idle=_POOL),
            _of(
                "redis.normal_tasks_poll_period",
                kinds.MILLISECONDS,
                "",
                env="REDIS_NORMAL_TASKS_POLL_PERIOD",
                idle="an idle worker is woken by the server",
            ),
            _of(
                "amqp.exchange", kinds.TEXT, "the exchange that all messages go through", env="AMQP_EXCHANGE"
            ),
            _of("amqp.exchange_type", kinds.TEXT, "direct, topic, fanout, …", env="AMQP_EXCHANGE_TYPE"),
            _of(
                "amqp.queue_declare_args",
                kinds.DECLARE_ARGS,
                "arguments of the queues that workers read; in the environment `name:value,name:value`, digits "
                "are numbers",
                env="AMQP_QUEUE_DECLARE_ARGS",
            ),
            _of(
                "amqp.queue_binding_args",
                kinds.STRINGS,
                "arguments of their bindings; in the environment `name:value,name:value`, all text",
                env="AMQP_QUEUE_BINDING_ARGS",
            ),
            _of("amqp.binding_key", kinds.ANY_TEXT, "what binds the default queue", env="AMQP_BINDING_KEY"),
            _of(
                "amqp.prefetch_count",
                kinds.NUMBER,
                "",
                env="AMQP_PREFETCH_COUNT",
                idle="a worker holds what it can run soon",
            ),
            _of("amqp.auto_delete", kinds.FLAG, "queues go with their last consumer", env="AMQP_AUTO_DELETE"),
            _of(
                "amqp.delayed_queue",
                kinds.ANY_TEXT,
                "the one queue of delayed messages; empty: the [delay queues](amqp.md#delays) of all",
                env="AMQP_DELAYED_QUEUE",
            ),
            _of(
                "amqp.delay_steps",
                kinds.NUMBER,
                "",
                idle="delays are not rounded any more",
            ),
            _of(
                "amqp.heartbeat",
                kinds.NUMBER,
                "seconds; RabbitMQ gives up what was silent two to three times as long; 0: never",
            ),
            _of(
                "amqp.ca",
                kinds.ANY_TEXT,
                "file of the certificates that `amqps://` trusts; empty: the system's",
            ),
            _of("amqp.cert", kinds.ANY_TEXT, "file of this client's certificate; empty: none"),
            _of("amqp.key", kinds.ANY_TEXT, "file of its key; empty: it is in the certificate's"),
            _of(
                "sqs.receive_wait_time_seconds",
                kinds.NUMBER,
                "seconds that a look waits for messages",
                env="SQS_WAIT_TIME_SECONDS",
            ),
            _of(
                "sqs.receive_visibility_timeout",
                kinds.OPTIONAL_MOMENTS,
                "seconds for which what was received is hidden; nothing: the queue's own",
                env="SQS_VISIBILITY_TIMEOUT",
            ),
            _of(
                "sqs.visibility_heartbeat",
                kinds.FLAG,
                "hide it for longer while its task runs",
                env="SQS_VISIBILITY_HEARTBEAT",
                file="sqs.visibility_hearth_beat",  # Go: so spelt
            ),
            _of("dynamodb.task_states_table", kinds.TEXT, "table of states", env="TASK_STATES_TABLE"),
            _of("dynamodb.group_metas_table", kinds.TEXT, "table of groups", env="GROUP_METAS_TABLE"),
            _of(
                "mongodb.database",
                kinds.TEXT,
                "database of states, unless the URL's option `database` names one; Machinery has it in code only",
            ),
            _of(
                "gcppubsub.max_extension",
                kinds.MOMENTS,
                "seconds for which a message's deadline is extended; 0: the client library's default",
            ),
        )
    }
)

#: The names of sections.
SECTIONS: Final = tuple(dict.fromkeys(path.partition(".")[0] for path in SETTINGS if "." in path))

#: Names in a file, to the setting and that name of it.
FILE_NAMES: Final[Mapping[str, tuple[Setting, Name]]] = MappingProxyType(
    {name.file: (setting, name) for setting in SETTINGS.values() for name in setting.names}
)
