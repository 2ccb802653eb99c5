"""Says what becomes of a message and of its worker: after an error, a panic, or if the task is not registered."""

from __future__ import annotations

from typing import Final

__all__ = ["PUT_BACK_PYTHON", "SQS_KEEPS", "after_error", "after_panic"]

#: What a gearmesh worker does with a message whose task it has not registered, behind the worker.
PUT_BACK_PYTHON: Final = (
    "puts the message back at once the first time, and later after growing pauses, in which no worker gets it. After a "
    "day (unregistered_max_age) it makes the message a dead letter: 'gearmesh dead list' shows it"
)
#: Amazon's queues have no way to put a message back.
SQS_KEEPS: Final = (
    "On SQS the Go worker leaves the message there, and any worker may get it after its visibility timeout"
)


def after_error(rabbitmq: str, redis: str) -> str:
    """The sentences about a Go worker after an error that is not the task's; see docs/reference/versions.md.

    Args:
        rabbitmq: what becomes of the message on RabbitMQ, as a clause.
        redis: what becomes of it on Redis.
    """
    return (
        f"On RabbitMQ {rabbitmq}, and the worker goes on with a new consumer. On Redis {redis}. If the worker's broker "
        "was made by redis.New of Machinery v2.0.14 or later, the worker runs nothing more until you restart its "
        "process. Every other worker on Redis goes on with a new consumer, but up to concurrency + 1 other messages "
        "are lost: send again what stays PENDING."
    )


def after_panic(panic: str) -> str:
    """The sentences about a panic of a Go worker outside of a task. ``panic``: how it panics, behind the worker."""
    return (
        f"{panic}. Nothing recovers this panic, so the worker's process ends. On Redis the message is gone. RabbitMQ "
        "gives it to the next worker, which ends in the same way, so remove the message from the queue"
    )
