"""A kombu connection that tries each of its brokers once and raises, without kombu's hidden sleep and retry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import kombu

from gearmesh.transports.broker_choice import BrokerChoice, BrokerEndpoint

__all__ = ["SingleAttemptConnection"]

log = logging.getLogger("gearmesh.broker")

T = TypeVar("T")


class SingleAttemptConnection(kombu.Connection):  # type: ignore[misc]
    """Tries to connect once to each of its brokers, and raises.

    kombu itself sleeps for two seconds when the first attempt fails, and tries again before it raises. The callers here
    have a backoff of their own: while kombu sleeps, a supervisor cannot send heartbeats or reap dead consumers.
    """

    _endpoints: Sequence[BrokerEndpoint] = ()
    _choice: BrokerChoice | None = None
    _follows = False
    #: The number of the endpoint to which kombu's parameters belong.
    _index = 0
    #: True once a channel was opened: from then on the connection belongs to one broker.
    _opened = False

    @classmethod
    def to_one_of(
        cls, endpoints: Sequence[BrokerEndpoint], choice: BrokerChoice | None = None, *, follows: bool = False
    ) -> SingleAttemptConnection:
        """Make a connection, not connected yet, to the chosen broker or else to the next one that is reachable.

        Opening its first channel tries each broker once. If none is reachable, it raises the last one's error.

        Args:
            endpoints: the brokers, one or more.
            choice: says where to begin, and learns which broker was reached. None: begin with the first.
            follows: try the chosen broker only, since another connection chooses.
        """
        choice = BrokerChoice() if choice is None else choice
        index = choice.index % len(endpoints)
        client = cls(**endpoints[index].params, transport_options=endpoints[index].options)
        if len(endpoints) > 1:
            client._endpoints, client._choice = endpoints, choice
            client._index, client._follows = index, follows
        return client

    @property
    def elsewhere(self) -> bool:
        """True if a broker other than this connection's was chosen meanwhile."""
        return self._choice is not None and self._choice.index % len(self._endpoints) != self._index

    def connect(self) -> Any:
        """Connect now, trying each of several brokers once. kombu contacts Redis only when it opens a channel."""
        return self._reach(super().connect)

    def channel(self) -> Any:
        """Open a channel; to open the first one tries each of several brokers once."""
        channel = self._reach(super().channel)
        self._opened = True
        return channel

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("max_retries") == 1:  # kombu passes 1 whenever an operation needs a connection
            return self._connection if self.connected else self._connection_factory()
        return super()._ensure_connection(*args, **kwargs)

    def _reach(self, step: Callable[[], T]) -> T:
        choice = self._choice
        if choice is None or self._opened or self._follows:
            return step()
        left = len(self._endpoints)
        while True:
            try:
                result = step()
            # py-amqp raises an error of a channel if RabbitMQ refuses the login.
            except (*self.connection_errors, *self.channel_errors) as exc:
                left -= 1
                if not left:
                    raise
                self._use_next(exc)
                continue
            choice.use(self._index)
            return result

    def _use_next(self, exc: BaseException) -> None:
        """Use the next broker."""
        before = self._endpoints[self._index]
        self._index = (self._index + 1) % len(self._endpoints)
        after = self._endpoints[self._index]
        log.warning("broker %s is unreachable (%s); trying %s", before.shown, exc, after.shown)
        self._close()
        self._closed = False
        self._init_params(**{**self._initial_params, **after.params})
        self.transport_options = after.options
