"""Says what becomes of a Go worker after an error or a panic that its tasks do not catch."""

from __future__ import annotations

from typing import Final

__all__ = ["AFTER_ERROR", "PROCESS_ENDS"]

#: After a message that the worker refuses; docs/reference/versions.md has the releases.
AFTER_ERROR: Final = (
    "On RabbitMQ the worker starts a new consumer. On Redis it does so, too, and up to concurrency + 1 other messages "
    "are lost; only a worker since v2.0.14 that reads Redis with redigo, not go-redis, runs nothing more: restart its "
    "process"
)
#: The end of a sentence about a panic outside of a task.
PROCESS_ENDS: Final = (
    "which ends the whole worker process. On Redis the message is gone; RabbitMQ gives it to the next worker, which "
    "ends in the same way, so remove it from the queue"
)
