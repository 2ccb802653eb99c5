"""The settings of an app in one frozen value, and the layers of which it is made."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

from gearmesh.config import sections
from gearmesh.config.checks import COMMAND_LINE, KEYWORD, check_all, shown
from gearmesh.config.file import Contents, from_file
from gearmesh.config.local import local_url
from gearmesh.config.table import SECTIONS, SETTINGS
from gearmesh.config.typos import meant_in_environment
from gearmesh.config.values import Said, from_environment, from_mapping, ignored_hint, note_idle, note_ignored
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQP_SCHEMES, REDIS_SCHEMES, PlainTarget, RedisTarget, Role, Target, parse, redact

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DEFAULT_EXPIRE_S", "Config", "NoBroker", "Source"]

#: Seconds for which a result is kept by default (Machinery's DefaultResultsExpireIn).
DEFAULT_EXPIRE_S = 3600

_EAGER: Final = ("eager", "eager://")
#: The beginning of all keys, queues and exchanges that gearmesh makes for itself.
PREFIX: Final = "gearmesh:"
#: Go: the key of the mutex by which only one worker at a time triggers a chord.
MUTEX: Final = "TriggerChordMutex"
#: Names that SQS allows for queues.
_SQS_QUEUE: Final = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+(?:\.fifo)?")


@dataclass(frozen=True, kw_only=True, repr=False)  # no slots: it caches properties that every call reads
class Config:
    """Holds all settings of an app. ``dataclasses.replace`` makes a changed copy; ``repr`` shows no password.

    :meth:`load` makes a Config from a file, the environment and keywords.

    Attributes:
        broker: URL of the server that keeps the messages; see :func:`gearmesh.urls.parse` for the forms.
        backend: URL of the server that keeps states and results; ``"null"``: no results are kept, and waiting for one
            is an error.
        lock: URL of the lock that schedulers share; None: they use no lock, so run only one scheduler.
        lock_executable: base name of the Go program whose schedulers share the lock; the keys of the lock contain it.
            ``""``: no Go program shares it.
        lock_machinery: the version of Machinery with which that program is built, 1 or 2.
        multiple_broker_separator: the text that splits ``broker`` into several URLs, which are tried in turn; ``""``:
            ``broker`` is one URL. It must not have a ``@``, ``:`` or ``/``.
        default_queue: the queue of tasks that name no queue, and the queue that a worker reads by default.
        results_expire_in: seconds for which a state is kept after its last write; 0 means 3600.
        delayed_tasks_key: Redis key of the delayed tasks, shared with Go.
        lease: seconds for which a worker may be silent before its deliveries are recovered; above 0.
        publish_timeout: seconds for which publishing is retried while the broker is unreachable;
            0: it is tried once.
        delayed_poll: seconds between two reads of the delayed tasks; above 0.
        unregistered_max_age: seconds for which a worker leaves a message of an unregistered task to other workers. Then
            it becomes a dead letter; 0: at once.
        send_concurrency: the number of connections that send a group's members; 0 or 1: one, in batches.
        store_tracebacks: True: the worker stores the traceback of a failed task beside its state, without passwords of
            URLs. False: it stores only the exception's type, because lines of code and messages may hold other secrets.
        store_failed_messages: True: the worker stores the message of a failed task, if it has at most 16 KiB, with the
            traceback, so that the dashboard can show its arguments and send it again. False: it stores no message.
        log_level: the log level of ``worker``, ``scheduler`` and ``dev``, from ``"DEBUG"`` to ``"CRITICAL"``; ``""``:
            that of the command line, else INFO. The library itself sets no level.
        machinery_release: the lowest release of Machinery in the deployment, such as ``"v1.8.8"``. If both major
            versions are in use, name the lowest of each: ``"v1.10.6,v2.0.10"``. gearmesh refuses to send a message that
            this release cannot handle. ``""``: the newest release.
        history: True: every few seconds, workers on Redis write the numbers of ended tasks for the dashboard's charts.
        remote_control: True: workers on Redis and RabbitMQ listen for questions and orders on the broker, see
            :mod:`gearmesh.control`.
        no_unix_signals: accepted because Machinery has it; the library handles no signals.
        redis: the section of Redis.
        amqp: the section of RabbitMQ.
        mongodb: the section of MongoDB.
        sqs, dynamodb, gcppubsub: the sections of hosted services.
        source: the places where the values were set. Comparisons of Configs ignore it. None: code has set all values.

    Raises:
        ConfigError: the message names the setting, its value and the expected values.
    """

    broker: str
    backend: str = "null"
    lock: str | None = None
    lock_executable: str = ""
    lock_machinery: int = 1
    multiple_broker_separator: str = ""
    default_queue: str = "machinery_tasks"
    results_expire_in: int = DEFAULT_EXPIRE_S
    delayed_tasks_key: str = "delayed_tasks"
    lease: float = 30.0
    publish_timeout: float = 30.0
    delayed_poll: float = 0.5
    unregistered_max_age: float = 86400.0
    send_concurrency: int = 0
    store_tracebacks: bool = True
    store_failed_messages: bool = True
    log_level: str = ""
    machinery_release: str = ""
    history: bool = True
    remote_control: bool = True
    no_unix_signals: bool = False
    redis: sections.RedisConfig = field(default_factory=sections.RedisConfig)
    amqp: sections.AMQPConfig = field(default_factory=sections.AMQPConfig)
    sqs: sections.SQSConfig = field(default_factory=sections.SQSConfig)
    dynamodb: sections.DynamoDBConfig = field(default_factory=sections.DynamoDBConfig)
    mongodb: sections.MongoDBConfig = field(default_factory=sections.MongoDBConfig)
    gcppubsub: sections.PubSubConfig = field(default_factory=sections.PubSubConfig)
    source: Source | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_all(self)
        for name, kind in _SECTION_TYPES.items():
            section = getattr(self, name)
            if not isinstance(section, kind):
                raise ConfigError(f"{name} is a {type(section).__name__}, expected a {kind.__name__}")
            check_all(section, name)
        kinds = {
            type(target) if not isinstance(target, PlainTarget) else target.scheme
            for target in (self._parse(url, "broker") for url in self.brokers)
        }
        if len(kinds) > 1:
            shown = self.shown("broker").strip("'")
            raise ConfigError(f"broker is {shown}, expected URLs of one kind of broker")
        self._parse(self.backend, "backend")
        if self.lock is not None:
            self._parse(self.lock, "lock")
        self._check_names()

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        *,
        watch: bool = False,
        **overrides: Any,
    ) -> Self:
        """Read settings. A keyword wins over the environment, and the environment over the file.

        If none of them names a broker, it is the Redis that ``gearmesh dev`` runs in the working
        directory. :meth:`origin` returns the place where a value was set.

        Args:
            file: Machinery's YAML file; None: no file.
            env: environment variables, by Machinery's names; None: this process's; ``{}``: none.
            watch: an App with this Config reads the file again every 10 s, see :meth:`App.watch_config
                <gearmesh.app.app.App.watch_config>`.
            overrides: fields of this class; a section may be a mapping with only the settings to change.

        Raises:
            ConfigError: the message names file, line or variable, the setting, its value and the expected values.
        """
        source = Source.read(file, env, overrides, watch=watch)
        config = cls.of(source)
        note_idle(source.said)
        note_ignored(source.ignored)
        return config

    @classmethod
    def of(cls, source: Source) -> Self:
        """Make a Config from a source. Settings that the source lacks come from its base, or are the defaults.

        Raises:
            ConfigError: as :meth:`load`.
            NoBroker: no layer names a broker.
        """
        values = source.values()
        if "broker" not in values:
            error = NoBroker(
                "broker is missing, expected a URL such as redis://localhost:6379/0: "
                "give it to App(…), set BROKER in the environment, or run gearmesh dev in this folder"
            )
            error.ignored = source.all_ignored()
            raise error
        plain = {path: value for path, value in values.items() if "." not in path}
        for name in SECTIONS:
            inner = {
                path[len(name) + 1 :]: value for path, value in values.items() if path.startswith(f"{name}.")
            }
            plain[name] = _SECTION_TYPES[name](**inner)
        return cls(**plain, source=source)

    def having(self, given: Mapping[str, Any], *, origin: str = KEYWORD) -> Config:
        """Return a copy with some settings changed.

        Args:
            given: settings, as in the keywords of :meth:`load`. They win over all others.
            origin: the text that :meth:`origin` returns for these settings.

        Raises:
            ConfigError: as :meth:`load`.
        """
        if not given:
            return self
        return type(self).of(Source.read(None, {}, given, base=self, watch=self.watched, given_origin=origin))

    def under(self, file: str | None) -> Config:
        """Return a copy in which the settings of a file win over those of the code, and the environment over both.

        Raises:
            ConfigError: as :meth:`load`.
        """
        if file is None or (self.source is not None and file in self.source.files()):
            return self
        source = Source.read(file, {}, {}, base=self, watch=self.watched)
        note_idle(source.said)
        note_ignored(source.ignored)
        return type(self).of(source)

    def reload(self) -> Config:
        """Read the same layers again. A Config that was made in code returns itself.

        Raises:
            ConfigError: as :meth:`load`.
        """
        return self if self.source is None else type(self).of(self.source.again())

    def items(self) -> list[tuple[str, Any]]:
        """Return every setting's path (``broker``, ``redis.read_timeout``) and value."""
        return [(path, self.value(path)) for path in SETTINGS]

    def value(self, path: str) -> Any:
        """Return a setting's value by its path."""
        section, _, name = path.rpartition(".")
        return getattr(getattr(self, section) if section else self, name)

    def origin(self, path: str) -> str:
        """Return the origin of a setting's value.

        It is ``"default"``, ``"code"``, ``"command line"``, ``"environment BROKER"``,
        ``"config.yml line 3"``, or ``"gearmesh dev"``.
        """
        value = self.value(path)
        if self.source is not None:
            said, base = self.source.said.get(path), self.source.base
            if said is not None and said.value == value:
                return said.origin
            if base is not None and base.value(path) == value:
                return base.origin(path)
        return "default" if path != "broker" and value == _defaults().value(path) else "code"

    @property
    def watched(self) -> bool:
        """True if it was loaded with ``watch=True``."""
        return self.source is not None and self.source.watch

    @property
    def brokers(self) -> tuple[str, ...]:
        """The broker URLs, in the order in which they are tried."""
        if not self.multiple_broker_separator:
            return (self.broker,)
        return tuple(self.broker.split(self.multiple_broker_separator))

    @cached_property
    def default_routing_key(self) -> str:
        """The RoutingKey of signatures that name no queue. It leads to the default queue.

        As in Go, it is the BindingKey on RabbitMQ with a direct exchange, and the queue's name everywhere else.
        """
        amqp = self.amqp
        if amqp.exchange_type == "direct" and amqp.binding_key and self._on_rabbitmq:
            return amqp.binding_key
        return self.default_queue

    @cached_property
    def eager(self) -> bool:
        """True if tasks run in the process that sends them."""
        return self._scheme == "eager"

    @property
    def on_rabbitmq(self) -> bool:
        """True if the broker is RabbitMQ."""
        return self._on_rabbitmq

    @cached_property
    def _on_rabbitmq(self) -> bool:
        return self._scheme in AMQP_SCHEMES

    @cached_property
    def on_sqs(self) -> bool:
        """True if the broker is Amazon SQS, or has its interface."""
        return self._scheme in ("https", "http")

    @cached_property
    def _scheme(self) -> str:
        return self.broker.partition("://")[0].lower()

    @property
    def max_delay(self) -> float:
        """Seconds for which the broker can delay a message; infinite if it has no limit."""
        return self.amqp.max_delay if self._on_rabbitmq else math.inf

    @property
    def expire(self) -> int:
        """The setting ``results_expire_in`` in seconds, or 3600 if it is 0."""
        return self.results_expire_in or DEFAULT_EXPIRE_S  # Go: ResultsExpireIn 0 is the default

    def __repr__(self) -> str:
        names = [each.name for each in fields(self) if each.name != "source"]
        return f"Config({', '.join(f'{name}={self.shown(name)}' for name in names)})"

    def shown(self, path: str) -> str:
        """Return the value of a setting or a section for people, without passwords."""
        value = self.value(path)
        if path == "broker" and isinstance(value, str):
            return repr((self.multiple_broker_separator or ",").join(map(redact, self.brokers)))
        if path not in SETTINGS or value is None:
            return repr(value)
        return shown(SETTINGS[path], value)

    def check_queue(self, queue: str, called: str = "queue", *, reads: bool = False) -> None:
        """Refuse a queue if the broker uses its name for something else.

        Args:
            queue: its name.
            called: the setting or argument that names it, for the error.
            reads: True: a worker reads the queue. False: messages are sent to it.

        Raises:
            ConfigError: the message names the queue, and the setting that has the same name.
        """
        amqp = self.amqp
        if self._on_rabbitmq:
            if queue == amqp.delayed_queue:
                raise _equal(called, queue, "amqp.delayed_queue", "the queue of the delayed tasks")
            direct = amqp.exchange_type == "direct"
            if reads and direct and queue == amqp.binding_key and queue != self.default_queue:
                what = (
                    f"the key of the default queue, {self.default_queue!r}: its tasks would be in both queues"
                )
                raise _equal(called, queue, "amqp.binding_key", what)
            _check_reserved(called, queue, "queue")
        elif self._scheme in REDIS_SCHEMES:
            if queue == self.delayed_tasks_key:
                raise _equal(called, queue, "delayed_tasks_key", "the key of the delayed tasks")
            _check_reserved(called, queue, "key")
        elif self.on_sqs and not _SQS_QUEUE.fullmatch(queue):
            raise ConfigError(
                f"{called} is {queue!r}, expected up to 80 letters, digits, '-' and '_', with '.fifo' at the end for "
                "a FIFO queue: SQS allows no other names"
            )

    def _check_names(self) -> None:
        """Refuse two equal names that must differ, with a ConfigError that names both settings."""
        self.check_queue(self.default_queue, "default_queue", reads=True)
        if self._on_rabbitmq:
            _check_reserved("amqp.exchange", self.amqp.exchange, "exchange")
            _check_reserved("amqp.delayed_queue", self.amqp.delayed_queue, "queue")
        elif self._scheme in REDIS_SCHEMES:
            _check_reserved("delayed_tasks_key", self.delayed_tasks_key, "key")
        states, metas = self.dynamodb.task_states_table, self.dynamodb.group_metas_table
        if states == metas:
            raise _equal("dynamodb.task_states_table", states, "dynamodb.group_metas_table", "the table")

    def _parse(self, url: str, role: Role) -> Target:
        try:
            if not url and role == "broker":
                raise ConfigError(
                    f"broker: one of the URLs that {self.multiple_broker_separator!r} separates is empty"
                )
            target = parse(url, role)
            if isinstance(target, RedisTarget):
                target.topology(self.redis.master_name, self.redis.cluster_enabled)
            return target
        except ConfigError as exc:
            origin = self.origin(role)
            raise ConfigError(
                str(exc) if origin in ("default", COMMAND_LINE, KEYWORD) else f"{origin}: {exc}"
            ) from None


#: The classes of the sections, by their names.
_SECTION_TYPES: Final[Mapping[str, Any]] = {
    each.name: each.default_factory for each in fields(Config) if each.name in SECTIONS
}


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """Holds the layers of a Config. It knows the origin of each setting, and can be read again.

    Attributes:
        file: the path of a YAML file; None: there is no file.
        env: the environment; None: this process's own.
        given: the settings from code or the command line.
        watch: True: programs read the file again while they run.
        base: the Config whose values count for settings that the layers do not set; None: the defaults count.
        given_origin: the origin of ``given``: :data:`~gearmesh.config.checks.KEYWORD`, or the command line.
        said: the values that the layers set, by the settings' paths.
        ignored: names in the file and in the environment that are not settings, for people.
    """

    file: str | None
    env: Mapping[str, str] | None
    given: Mapping[str, Any]
    watch: bool
    base: Config | None
    said: Mapping[str, Said]
    given_origin: str = KEYWORD
    ignored: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Source of {len(self.said)} settings>"

    @classmethod
    def read(
        cls,
        file: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        given: Mapping[str, Any],
        *,
        watch: bool = False,
        base: Config | None = None,
        given_origin: str = KEYWORD,
    ) -> Source:
        """Read all layers. A ConfigError names the wrong setting and the place where it was set."""
        path = None if file is None else os.fspath(file)
        said, ignored = from_file(path) if path is not None else Contents({}, [])
        variables = os.environ if env is None else env
        for variable, near in meant_in_environment(variables).items():
            ignored.append(f"{variable} (environment; do you mean {near}?)")
        said |= from_environment(variables)
        if base is not None:
            # The environment's values, which the base already has, win over the file's.
            said = {key: each for key, each in said.items() if not base.origin(key).startswith("environment")}
        said |= from_mapping(given, given_origin)
        if base is None:
            _complete(said)
        return cls(path, env, dict(given), watch, base, said, given_origin, tuple(ignored))

    def again(self) -> Source:
        """Read the same layers again, as they are now."""
        base = self.base.reload() if self.base is not None else None
        return Source.read(
            self.file, self.env, self.given, watch=self.watch, base=base, given_origin=self.given_origin
        )

    def files(self) -> list[str]:
        """Return all files that were read."""
        return [source.file for source in self._all() if source.file is not None]

    def all_ignored(self) -> list[str]:
        """Return the :attr:`ignored` names of all layers."""
        return [name for source in self._all() for name in source.ignored]

    def _all(self) -> list[Source]:
        """Return the Sources below this one, and this one."""
        below = self.base.source._all() if self.base is not None and self.base.source is not None else []
        return [*below, self]

    def values(self) -> dict[str, Any]:
        """Return the values by path: those of the base, replaced by those of these layers."""
        below = dict(self.base.items()) if self.base is not None else {}
        return {**below, **{path: each.value for path, each in self.said.items()}}


def _complete(said: dict[str, Said]) -> None:
    """Add the project's own Redis if no layer names a broker; with an eager broker, make the backend eager, too."""
    if "broker" not in said and (url := local_url()) is not None:
        said["broker"] = Said(url, "gearmesh dev")
        for role in ("backend", "lock"):
            said.setdefault(role, Said(url, "gearmesh dev"))
    if "backend" not in said and "broker" in said and said["broker"].value in _EAGER:
        said["backend"] = Said("eager", said["broker"].origin)


class NoBroker(ConfigError):
    """No layer of the settings names a broker.

    Attributes:
        ignored: names that are not settings, for people. One of them may be a misspelt ``broker``.
    """

    ignored: Sequence[str] = ()

    def __str__(self) -> str:
        return super().__str__() + ignored_hint(self.ignored)


def _equal(called: str, name: str, other: str, what: str) -> ConfigError:
    return ConfigError(f"{called} and {other} are both {name!r}, expected two names: {other} is {what}")


def _check_reserved(called: str, name: str, kind: str) -> None:
    if name.startswith(PREFIX):
        raise ConfigError(
            f"{called} is {name!r}, expected a name that does not begin with {PREFIX}, as gearmesh's own names do"
        )
    if kind == "key" and name == MUTEX:
        raise ConfigError(f"{called} is {name!r}, which is a key of Machinery's own; expected another name")


@cache
def _defaults() -> Config:
    return Config(broker="eager")
