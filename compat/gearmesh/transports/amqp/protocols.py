"""The part of a RabbitMQ connection that the objects which it composes use."""

from __future__ import annotations

from typing import Any, Protocol

from gearmesh.interfaces.commit import Delivery

__all__ = ["ConnectionPort", "Held"]


class Held(Protocol):
    """A delivery that a consumer of this process holds; see :class:`~.unacked.Unacked`."""

    delivery: Delivery
    source: str


class ConnectionPort(Protocol):
    """The part of an :class:`~.connection.AMQPConnection` that its users need. Hold ``lock`` for all but ``wake``."""

    lock: Any
    #: seconds to wait for RabbitMQ's answer
    patience: float
    #: why RabbitMQ reads nothing more from us; "": it does
    blocked: str
    frame_max: int
    heartbeat: Any
    lingering: bool
    #: True while the owner waits for messages
    resting: bool
    consuming: list[Any]

    @property
    def connected(self) -> bool:
        """True while the socket is open, as far as this end knows."""

    @property
    def broken(self) -> BaseException | None:
        """The error after which the connection cannot be used; None: it can."""

    def check(self) -> None:
        """Raise RecoverableConnectionError if the connection cannot be used."""

    def send(self, data: bytes) -> None:
        """Write frames."""

    def pump(self) -> None:
        """Handle all frames that have come; wait for nothing."""

    def read_one(self, timeout: float) -> bool:
        """Handle the frames that have come, or wait up to ``timeout`` seconds for one; False if none came."""

    def maintain(self) -> None:
        """Send a heartbeat if one is due; fail the connection if RabbitMQ has been silent for too long."""

    def fail(self, exc: BaseException) -> None:
        """Mark the connection as broken; its owner gets the error."""

    def collect(self) -> None:
        """Close the socket without a word to RabbitMQ."""

    def open_channel(self) -> Any:
        """Open a channel of py-amqp's."""

    def settled(self, tags: Any, held: Held) -> None:
        """Note that a delivery of this connection was settled."""

    def barrier(self, tags: Any) -> None:
        """Wait until RabbitMQ has carried out all that a channel was told."""

    def linger(self, channel: Any) -> None:
        """Stay open until all deliveries of ``channel`` are settled."""

    def close_if_settled(self) -> None:
        """Close a lingering connection if all its deliveries are settled."""

    def drop_partial(self, channel: int) -> None:
        """Forget a delivery in the midst of which its channel was closed."""

    def wake(self) -> None:
        """End a wait, now or the next one. Any thread."""
