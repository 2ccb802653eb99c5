"""Opens a channel to an app's broker, and finds its queues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.interfaces.transport import SupportsInspection
from gearmesh.transports.registry import connect

__all__ = ["app_queues", "channel_to", "inspecting", "is_unknown", "known_queues", "queue_of"]


@contextmanager
def channel_to(app: App) -> Iterator[Any]:
    """Open a channel to an app's broker. Raises GearmeshError if the broker is unreachable or refuses the command."""
    with connect(app.config) as connection:
        try:
            yield connection.channel()
        except connection.connection_errors as exc:
            raise GearmeshError(f"broker {app.masked_broker} cannot be reached: {exc}") from exc
        except connection.channel_errors as exc:  # for example, a key of that name is not a queue
            raise GearmeshError(f"broker {app.masked_broker} refuses: {exc}") from exc


def inspecting(channel: Any) -> SupportsInspection:
    """Return the channel if it can count and empty queues. Raises GearmeshError otherwise."""
    if not isinstance(channel, SupportsInspection):
        raise GearmeshError("this broker cannot count or empty its queues")
    return channel


def queue_of(app: App, task: str) -> str:
    """Return the queue that a call of this task goes to; the default queue if the app does not have the task."""
    known = app.tasks.get(task)
    return (known.options.queue if known is not None else "") or app.default_queue


def app_queues(app: App) -> set[str]:
    """Return the app's default queue, and those of its tasks."""
    return {app.default_queue, *(queue_of(app, task) for task in app.tasks)}


def known_queues(app: App, channel: Any) -> list[str]:
    """Return the app's default queue, those of its tasks, and all others that the broker lists, sorted by name.

    RabbitMQ lists no queues. On Redis this reads every key.
    """
    names = app_queues(app)
    if isinstance(channel, SupportsInspection):
        with suppress(GearmeshError):  # RabbitMQ does not list its queues
            names |= set(channel.queues())
    return sorted(names)


def is_unknown(app: App, channel: Any, queue: str) -> bool:
    """True if the queue does not belong to the app, has no message, and has no consumer that the broker knows."""
    if queue in app_queues(app):
        return False
    count = inspecting(channel).count(queue)
    return not any((count.pending, count.held, count.parked, count.dead, count.consumers, count.silent))
