"""A channel to an app's broker, and the queues that are known there."""

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
    """A channel to an app's broker. Raises GearmeshError: it cannot be reached, or it refuses the command."""
    with connect(app.config) as connection:
        try:
            yield connection.channel()
        except connection.connection_errors as exc:
            raise GearmeshError(f"broker {app.masked_broker} cannot be reached: {exc}") from exc
        except connection.channel_errors as exc:  # a key of that name is no queue, say
            raise GearmeshError(f"broker {app.masked_broker} refuses: {exc}") from exc


def inspecting(channel: Any) -> SupportsInspection:
    """The channel, if it can count and empty queues. Raises GearmeshError."""
    if not isinstance(channel, SupportsInspection):
        raise GearmeshError("this broker cannot count or empty its queues")
    return channel


def queue_of(app: App, task: str) -> str:
    """The queue that a call of this task goes to; the default one for a task that the app has not."""
    known = app.tasks.get(task)
    return (known.options.queue if known is not None else "") or app.default_queue


def app_queues(app: App) -> set[str]:
    """The app's default queue, and those of its tasks."""
    return {app.default_queue, *(queue_of(app, task) for task in app.tasks)}


def known_queues(app: App, channel: Any) -> list[str]:
    """The app's default queue, those of its tasks, and all others that the broker lists, by name.

    RabbitMQ lists no queues. Redis looks at every key.
    """
    names = app_queues(app)
    if isinstance(channel, SupportsInspection):
        with suppress(GearmeshError):  # RabbitMQ does not list its queues
            names |= set(channel.queues())
    return sorted(names)


def is_unknown(app: App, channel: Any, queue: str) -> bool:
    """True if the queue is none of the app's, no message is in it, and no consumer that can be seen reads it."""
    if queue in app_queues(app):
        return False
    count = inspecting(channel).count(queue)
    return not any((count.pending, count.held, count.aside, count.dead, count.consumers, count.silent))
