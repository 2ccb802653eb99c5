"""Describes the fate of a message and of its worker after an error, a panic, or if the task is not registered."""

from __future__ import annotations

from typing import Final

__all__ = ["NEXT_CONSUMER", "PUT_BACK_PYTHON", "SQS_KEEPS", "after_error", "after_panic"]

#: Continues a sentence that begins with a gearmesh worker that has not registered the task of a message.
PUT_BACK_PYTHON: Final = (
    "puts the message back at once the first time, and later after growing pauses, in which no worker gets it. After a "
    "day (unregistered_max_age) it makes the message a dead letter: 'gearmesh dead list' shows it"
)
#: A consumer of SQS has no command to put a message back.
SQS_KEEPS: Final = (
    "On SQS the Go worker leaves the message there, and any worker may get it after its visibility timeout"
)
_NEXT_ON_REDIS: Final = (
    "If redis.New of Machinery v2.0.14 or later made the worker's broker, the worker runs nothing more until you "
    "restart its process: it only takes messages and puts them back. SIGTERM loses none of them, SIGKILL may lose "
    "some. With any other Redis broker the worker goes on with a new consumer, but it loses up to concurrency + 1 "
    "other messages, so send the tasks that stay PENDING again."
)
#: Sentences about a Go worker whose consumer has stopped with an error.
NEXT_CONSUMER: Final = f"On RabbitMQ the worker goes on with a new consumer. {_NEXT_ON_REDIS}"


def after_error(rabbitmq: str, redis: str) -> str:
    """Write the sentences about a Go worker after an error outside of the task; see docs/reference/versions.md.

    Args:
        rabbitmq: a clause about the message on RabbitMQ, as "the message is acknowledged".
        redis: such a clause about the message on Redis.
    """
    return f"On RabbitMQ {rabbitmq}, and the worker goes on with a new consumer. On Redis {redis}. {_NEXT_ON_REDIS}"


def after_panic(panic: str) -> str:
    """Write the sentences about a panic of a Go worker outside of a task. ``panic``: "panics", and the cause."""
    return (
        f"{panic}. Nothing recovers this panic, so the worker's process ends. On Redis this message is gone. So are "
        "the other messages that the process holds: send again those whose state stays PENDING, RECEIVED or STARTED. "
        "RabbitMQ gives this message to the next worker, which ends in the same way, so remove it from the queue"
    )
