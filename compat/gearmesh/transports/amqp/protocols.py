"""The interfaces through which the parts of a RabbitMQ connection use the connection and its channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gearmesh.transports.amqp.frames import Delivered

__all__ = ["ConnectionPort", "FrameHandler"]


class FrameHandler(Protocol):
    """A channel that consumes, as its connection and the connection's heartbeat thread know it."""

    #: the :class:`~.unacked.AMQPUnackedDeliveries` of the consumer
    unacked: Any
    #: the :class:`~.delivery_tags.AckTracker` of the channel as it is open now
    tags: Any
    consumer: str
    #: seconds without a sign of life after which the deliveries of the consumer are returned
    lease: float
    #: False: the consumer is alive as long as its process
    heartbeats: bool
    #: True once a thread has asked to end the wait
    woken: bool

    def arrived(self, delivered: Delivered, raw: bytes, body: bytes) -> None:
        """Take a complete delivery. ``raw``: its properties, encoded."""

    def deliver(self, now: float) -> bool:
        """Hand messages to the consumers' callbacks; True if there were any."""

    def due(self) -> float:
        """Return the moment, by the monotonic clock, at which :meth:`deliver` has to be called."""

    def held_here(self) -> bool:
        """Say whether a delivery of this channel is unacked."""

    def settled(self, held: Any) -> None:
        """Note that a delivery of this channel is settled."""

    def barrier(self) -> None:
        """Wait until RabbitMQ has carried out all earlier commands of this channel."""

    def return_unacked(self) -> int:
        """Return all deliveries of this channel to their queues; return their number. Any thread may call it."""

    def retire(self) -> bool:
        """End the consumers; True if the connection has to stay open for unacked deliveries."""


class ConnectionPort(Protocol):
    """The part of an :class:`~.connection.AMQPConnection` that its parts use. Hold ``lock`` for all of it."""

    lock: Any
    #: seconds to wait for RabbitMQ's answer
    patience: float
    #: the reason for which RabbitMQ reads nothing more from us; "": it reads
    blocked: str
    frame_max: int
    heartbeat: Any
    lingering: bool
    #: True while the owner waits for messages
    resting: bool
    consuming: list[FrameHandler]

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
        """Close the socket without a goodbye to RabbitMQ."""

    def open_channel(self) -> Any:
        """Open a channel of py-amqp's."""

    def close_if_settled(self) -> None:
        """Close a lingering connection if all its deliveries are settled."""
