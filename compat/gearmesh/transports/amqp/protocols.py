"""The part of a RabbitMQ connection that the objects which it composes use."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ConnectionPort"]


class ConnectionPort(Protocol):
    """The part of an :class:`~.connection.AMQPConnection` that its parts use. Hold ``lock`` for all of it."""

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

    def settled(self, tags: Any, delivery: Any) -> None:
        """Note that a delivery of this connection was settled."""

    def barrier(self, tags: Any) -> None:
        """Wait until RabbitMQ has carried out all that a channel was told."""

    def close_if_settled(self) -> None:
        """Close a lingering connection if all its deliveries are settled."""
