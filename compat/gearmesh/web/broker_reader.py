"""Asks the broker for the dashboard, one question at a time over one connection, and keeps each answer for a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, TypeVar

import kombu

from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.interfaces.listing import SupportsPaging
from gearmesh.interfaces.transport import (
    SupportsConsumerListing,
    SupportsInspection,
    SupportsParkedListing,
)
from gearmesh.transports.registry import connect
from gearmesh.urls import redact_text, scheme_of
from gearmesh.web.cache import AnswerCache

__all__ = ["BrokerAbilities", "BrokerReader"]

T = TypeVar("T")

#: Seconds for which the end of the dashboard waits for a question that is asked.
CLOSE_TIMEOUT_S = 1.0
#: Seconds after which RabbitMQ is asked again for a missing queue of dead letters: it logs an error each time.
MISSING_TTL_S: Final = 30.0


class BrokerAbilities:
    """Describes the questions that a broker can answer.

    Attributes:
        pages: the broker shows messages at any position, without delivering them.
        counts: it counts the messages of a queue.
        consumers: it lists consumers and their unacked deliveries.
        parked: it lists parked messages.
        delayed: it lists delayed messages.
        shows_pending: it shows waiting messages, if only by delivering them.
        name: the broker's name for people.
    """

    def __init__(self, channel: Any, scheme: str) -> None:
        self.pages = isinstance(channel, SupportsPaging)
        self.counts = isinstance(channel, SupportsInspection)
        self.consumers = isinstance(channel, SupportsConsumerListing)
        self.parked = isinstance(channel, SupportsParkedListing)
        self.delayed = bool(channel.lists_delayed)
        self.shows_pending = bool(getattr(channel, "lists_pending", True))
        self.name = _NAMES.get(scheme.split("+")[0], scheme)


_NAMES = {
    "redis": "Redis",
    "rediss": "Redis",
    "amqp": "RabbitMQ",
    "amqps": "RabbitMQ",
    "https": "SQS",
    "http": "SQS",
    "gcppubsub": "Pub/Sub",
    "memory": "the memory of this process",
}


class BrokerReader:
    """Reads queues and messages from the broker of an app, for the pages. Safe in threads.

    Args:
        app: the app that names the broker.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.RLock()
        self._cache = AnswerCache()
        self._connection: kombu.Connection | None = None
        self._channel: Any = None

    @property
    def address(self) -> str:
        """The broker's URL without its password."""
        return self._app.masked_broker

    def abilities(self) -> BrokerAbilities:
        """The abilities of the broker. Raises GearmeshError if it cannot be reached."""
        scheme = scheme_of(self._app.config.brokers[0])
        return self.ask("abilities", lambda channel: BrokerAbilities(channel, scheme))

    def ask(self, key: Hashable, question: Callable[[Any], T]) -> T:
        """Return the answer that is kept under ``key``, or ask; an answer is at most a second old.

        Raises:
            GearmeshError: the broker cannot be reached, or it refuses the question.
        """
        return self._cache.get(key, lambda: self._ask(question))

    def change(self, action: Callable[[Any], T]) -> T:
        """Carry out an action, without a second try. Raises as :meth:`ask`."""
        try:
            return self._ask(action, tries=1)
        finally:
            self._cache.clear()

    def close(self) -> None:
        """Close the connection; the next question opens another.

        A question that waits for a broker keeps its connection: the dashboard stops without its answer.
        """
        if not self._lock.acquire(timeout=CLOSE_TIMEOUT_S):
            return
        try:
            connection, self._connection, self._channel = self._connection, None, None
            if connection is not None:
                with suppress(Exception):  # the connection may be broken
                    connection.release()
        finally:
            self._lock.release()

    def _ask(self, question: Callable[[Any], T], tries: int = 2) -> T:
        """Ask; if a connection breaks that was open before, connect again once."""
        with self._lock:
            fresh = self._channel is None
            connection = self._connection or connect(self._app.config, missing_ttl=MISSING_TTL_S)
            try:
                if self._channel is None:
                    self._connection = connection
                    self._channel = connection.channel()
                return question(self._channel)
            except connection.connection_errors as exc:
                self.close()
                if tries > 1 and not fresh:
                    return self._ask(question, tries - 1)
                reason = redact_text(str(exc)) or type(exc).__name__
                raise GearmeshError(f"broker {self.address} cannot be reached: {reason}") from exc
            except connection.channel_errors as exc:  # for example if a key of that name is not a queue
                self.close()
                raise GearmeshError(f"broker {self.address} refuses: {redact_text(str(exc))}") from exc
            except GearmeshError:
                raise
            except Exception:
                self.close()  # the state of the connection is not known
                raise
