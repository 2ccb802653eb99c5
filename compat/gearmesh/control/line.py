"""Carries requests and replies between workers and the clients that ask them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from gearmesh.config import Config
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, RedisTarget, parse, redact, redact_text

__all__ = ["ControlLine", "is_controlled", "open_line", "supports_control"]


class ControlLine(Protocol):
    """Carries requests to all workers, and their replies, over one connection; for one thread.

    Attributes:
        connection_errors: raised by all methods while the broker is unreachable. A line that has raised one cannot be
            used again: close it, and open another.
        address: the address for replies to this line.
        remembers: True if the broker keeps the names of paused queues and tasks.
    """

    connection_errors: tuple[type[BaseException], ...]
    address: str
    remembers: bool

    def send(self, body: bytes, to: str = "") -> int | None:
        """Send a message to all workers that listen, or to the address ``to``.

        Returns the number of receivers; None: the broker does not tell it.
        """

    def receive(self, timeout: float) -> bytes | None:
        """Return the next message; None: no message came within ``timeout`` seconds."""

    def paused(self) -> set[tuple[str, str]]:
        """Read the paused queues and tasks: pairs of kind (``queue`` or ``task``) and name."""

    def remember(self, kind: str, name: str, paused: bool) -> None:
        """Record, for workers that start later, that a queue or a task is paused, or is not any more."""

    def close(self) -> None:
        """Close the connection."""


def supports_control(config: Config) -> bool:
    """True if this broker can carry requests to workers."""
    return isinstance(parse(config.brokers[0], "broker"), (RedisTarget, AMQPTarget))


def is_controlled(config: Config) -> bool:
    """True if this app's workers listen for requests: the setting is on, and the broker can carry them."""
    return config.remote_control and supports_control(config)


def open_line(config: Config, *, index: int = 0, listens: bool = False) -> ControlLine:
    """Connect to an app's broker.

    Args:
        config: the app's.
        index: the place of the broker to connect to, if there are several.
        listens: the line receives requests to all workers, as well as messages to its address.

    Raises:
        ConfigError: this broker cannot carry requests, or does not allow them to this user.
        Exception: one of the connection errors of the broker.
    """
    url = config.brokers[index % len(config.brokers)]
    target = parse(url, "broker")
    if isinstance(target, RedisTarget):
        from redis.exceptions import NoPermissionError

        from gearmesh.control.redis_line import RedisLine
        from gearmesh.redis_client.connection_settings import ConnectionSettings

        with _allowed(url, NoPermissionError):
            return RedisLine(ConnectionSettings(target, config.redis), listens=listens)
    if isinstance(target, AMQPTarget):
        from amqp import AccessRefused

        from gearmesh.control.amqp_line import AMQPLine

        with _allowed(url, AccessRefused):
            return AMQPLine(config.amqp.connection(target), listens=listens)
    raise ConfigError(
        f"workers on {redact(url)} cannot be asked or told: remote control needs Redis or RabbitMQ as the broker"
    )


@contextmanager
def _allowed(url: str, refusal: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except refusal as exc:
        raise ConfigError(f"remote control is not allowed on {redact(url)}: {redact_text(str(exc))}") from exc
