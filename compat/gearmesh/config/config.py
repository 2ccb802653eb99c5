"""Every setting of an app in one frozen value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from gearmesh.config.amqp import AMQPConfig
from gearmesh.errors import ConfigError
from gearmesh.urls import Role, parse, redact

__all__ = ["DEFAULT_EXPIRE", "Config"]

#: Seconds a result lives where nothing else is said (Machinery's DefaultResultsExpireIn).
DEFAULT_EXPIRE = 3600

_ROLES: tuple[Role, ...] = ("broker", "backend", "lock")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Config:
    """The settings of an app. Change one with ``dataclasses.replace``; ``repr`` shows no password.

    Attributes:
        broker: URL of where messages wait; see :func:`gearmesh.urls.parse` for the forms.
        backend: URL of where states and results live; ``"null"`` keeps none, and waiting is an error.
        lock: URL of who goes first among schedulers; None: this process is the only one.
        multiple_broker_separator: splits ``broker`` into several URLs, tried in turn; ``""``: it is one.
            Neither ``@`` nor ``:`` nor ``/`` may be in it.
        default_queue: the queue of tasks that name none, and the one a worker reads by default.
        results_expire_in: seconds from its last write that a state lives; 0 means 3600.
        delayed_tasks_key: Redis key of the tasks that wait for their time, shared with Go.
        lease: seconds for which a worker may be silent before others take what it held; above 0.
        publish_timeout: seconds for which a publish is tried again while the broker is away;
            0: it is tried once.
        delayed_poll: seconds between two looks at the delayed tasks; above 0.
        unregistered_max_age: seconds for which a message with a name not registered here is offered
            to others before it is a dead letter; 0: it is one at once.
        send_concurrency: how many members of a group are sent at a time; 0: all at once.
        amqp: what concerns RabbitMQ only.

    Raises:
        ConfigError: naming the setting, its value and what was expected.
    """

    broker: str
    backend: str = "null"
    lock: str | None = None
    multiple_broker_separator: str = ""
    default_queue: str = "machinery_tasks"
    results_expire_in: int = DEFAULT_EXPIRE
    delayed_tasks_key: str = "delayed_tasks"
    lease: float = 30.0
    publish_timeout: float = 30.0
    delayed_poll: float = 0.5
    unregistered_max_age: float = 86400.0
    send_concurrency: int = 0
    amqp: AMQPConfig = field(default_factory=AMQPConfig)

    def __post_init__(self) -> None:
        self._text("broker", "backend", "default_queue", "delayed_tasks_key")
        self._text("multiple_broker_separator", empty=True)
        if set(self.multiple_broker_separator) & set("@:/"):  # it would cut URLs in two, and passwords
            raise self._wrong("multiple_broker_separator", "text without '@', ':' and '/'")
        if self.lock is not None:
            self._text("lock")
        for url in self.brokers:
            parse(url, "broker")
        parse(self.backend, "backend")
        if self.lock is not None:
            parse(self.lock, "lock")
        self._whole("results_expire_in", "send_concurrency")
        self._seconds("lease", "delayed_poll", above_zero=True)
        self._seconds("publish_timeout", "unregistered_max_age")

    @property
    def brokers(self) -> tuple[str, ...]:
        """The broker URLs, in the order they are tried."""
        if not self.multiple_broker_separator:
            return (self.broker,)
        return tuple(self.broker.split(self.multiple_broker_separator))

    @property
    def expire(self) -> int:
        """``results_expire_in`` with zero resolved; always above 0."""
        return self.results_expire_in or DEFAULT_EXPIRE  # Go: ResultsExpireIn 0 is the default

    def __repr__(self) -> str:
        shown = ", ".join(f"{each.name}={self._shown(each.name)}" for each in fields(self))
        return f"Config({shown})"

    def _shown(self, key: str) -> str:
        value: Any = getattr(self, key)
        if key == "broker" and isinstance(value, str):
            return repr((self.multiple_broker_separator or ",").join(map(redact, self.brokers)))
        return repr(redact(value) if key in _ROLES and isinstance(value, str) else value)

    def _wrong(self, key: str, expected: str) -> ConfigError:
        value: Any = getattr(self, key)
        # Something else than text where a URL belongs may hold a password in any shape.
        shown = f"a {type(value).__name__}" if key in _ROLES and not isinstance(value, str) else repr(value)
        return ConfigError(f"{key} is {shown}, expected {expected}")

    def _text(self, *keys: str, empty: bool = False) -> None:
        for key in keys:
            value: Any = getattr(self, key)
            if not isinstance(value, str) or not (value or empty):
                raise self._wrong(key, "text" if empty else "text that is not empty")

    def _whole(self, *keys: str) -> None:
        for key in keys:
            value: Any = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise self._wrong(key, "a whole number, 0 or more")

    def _seconds(self, *keys: str, above_zero: bool = False) -> None:
        for key in keys:
            value: Any = getattr(self, key)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (above_zero and value == 0):
                raise self._wrong(key, "seconds above 0" if above_zero else "seconds, 0 or more")
