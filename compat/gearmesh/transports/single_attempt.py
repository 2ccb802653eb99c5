"""kombu's connection, as one that connects at once or raises, and that tries each of several brokers once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import kombu

__all__ = ["BrokerChoice", "BrokerEndpoint", "SingleAttemptConnection"]

log = logging.getLogger("gearmesh.broker")

T = TypeVar("T")


class BrokerChoice:
    """Remembers the one of an app's brokers that the connections with this choice use.

    A broker stays the chosen one until a new connection to it fails. So a broker that was unreachable and comes back
    changes nothing for a process that has turned to another one.

    Args:
        index: the number of the URL to begin with.
        follower: another choice, which takes over every change of this one.
    """

    def __init__(self, index: int = 0, follower: BrokerChoice | None = None) -> None:
        self.index = index
        self._follower = follower

    def use(self, index: int) -> None:
        """The broker of this number was reached."""
        self.index = index
        if self._follower is not None:
            self._follower.use(index)


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    """One broker URL, as kombu takes it.

    Attributes:
        shown: the URL without its password.
        params: keyword arguments of ``kombu.Connection``, without the transport's options.
        options: the transport's options.
    """

    shown: str
    params: dict[str, Any]
    options: dict[str, Any]


class SingleAttemptConnection(kombu.Connection):  # type: ignore[misc]
    """Connects once, and raises.

    kombu sleeps for two seconds when the first attempt fails, and tries again before it raises. The callers here
    pause by themselves: while kombu slept, a supervisor sent no heartbeats, and nobody looked for dead workers.
    """

    _doors: Sequence[BrokerEndpoint] = ()
    _choice: BrokerChoice | None = None
    _follows = False
    #: the number of the door that the parameters are of
    _door = 0
    #: a channel was opened: from here on the connection belongs to one broker
    _opened = False

    @classmethod
    def to_one_of(
        cls, doors: Sequence[BrokerEndpoint], choice: BrokerChoice | None = None, *, follows: bool = False
    ) -> SingleAttemptConnection:
        """A connection, not connected yet, to the chosen broker or else to the next one that is reachable.

        Opening its first channel tries each broker once. If none is reachable, it raises the last one's error.

        Args:
            doors: the brokers.
            choice: where to begin; it learns which broker was reached. None: at the first.
            follows: try the chosen broker alone: another connection chooses.
        """
        choice = BrokerChoice() if choice is None else choice
        at = choice.index % len(doors)
        client = cls(**doors[at].params, transport_options=doors[at].options)
        if len(doors) > 1:
            client._doors, client._choice, client._door, client._follows = doors, choice, at, follows
        return client

    @property
    def elsewhere(self) -> bool:
        """True if another broker than that of this connection was chosen meanwhile."""
        return self._choice is not None and self._choice.index % len(self._doors) != self._door

    def connect(self) -> Any:
        """Connect now; of several brokers each is tried once. A Redis is not asked before a channel is opened."""
        return self._reach(super().connect)

    def channel(self) -> Any:
        """Open a channel; the first one tries each of several brokers once."""
        channel = self._reach(super().channel)
        self._opened = True
        return channel

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("max_retries") == 1:  # as whatever needs a connection asks for it
            return self._connection if self.connected else self._connection_factory()
        return super()._ensure_connection(*args, **kwargs)

    def _reach(self, step: Callable[[], T]) -> T:
        choice = self._choice
        if choice is None or self._opened or self._follows:
            return step()
        left = len(self._doors)
        while True:
            try:
                result = step()
            # RabbitMQ refuses a login by what py-amqp takes for an error of a channel.
            except (*self.connection_errors, *self.channel_errors) as exc:
                left -= 1
                if not left:
                    raise
                self._go_on(exc)
                continue
            choice.use(self._door)
            return result

    def _go_on(self, exc: BaseException) -> None:
        """Turn to the next broker."""
        before = self._doors[self._door]
        self._door = (self._door + 1) % len(self._doors)
        door = self._doors[self._door]
        log.warning("broker %s is unreachable (%s); trying %s", before.shown, exc, door.shown)
        self._close()
        self._closed = False
        self._init_params(**{**self._initial_params, **door.params})
        self.transport_options = door.options
