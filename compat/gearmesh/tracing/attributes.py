"""The attributes of spans, by OpenTelemetry's conventions for messaging."""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import AttributeValue

from gearmesh.wire.signature import Signature

__all__ = ["attributes_of", "system_of"]

#: Schemes of brokers, and the name of the system.
_SYSTEMS: Final = {
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "https": "aws_sqs",
    "http": "aws_sqs",
    "gcppubsub": "gcp_pubsub",
}


def system_of(scheme: str) -> str:
    """Name the messaging system of a broker's scheme."""
    return _SYSTEMS.get(scheme, scheme.partition("+")[0].replace("rediss", "redis"))


def attributes_of(sig: Signature, system: str, queue: str, operation: str) -> dict[str, AttributeValue]:
    """Return the attributes of a span. Arguments and results are not among them.

    Args:
        sig: the signature that is sent or run.
        system: see :func:`system_of`.
        queue: the queue.
        operation: ``send`` or ``process``.
    """
    found: dict[str, AttributeValue] = {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": sig.UUID,
        "gearmesh.task": sig.Name,
    }
    if sig.GroupUUID:
        found["messaging.message.conversation_id"] = sig.GroupUUID
    if sig.RetryCount:
        found["gearmesh.retries_left"] = sig.RetryCount
    return found
