"""The broker that a command uses: a channel to it, and the queues that are known there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gearmesh.app.app import App
from gearmesh.app.unique import release_claims
from gearmesh.cli.common import Place
from gearmesh.cli.output import note
from gearmesh.errors import BackendError, GearmeshError
from gearmesh.interfaces.backend import SupportsClaims
from gearmesh.interfaces.transport import DeletedCallback, SupportsInspection
from gearmesh.transports.registry import connect

__all__ = ["channel_of", "channel_to", "claims_of", "inspecting", "is_unknown", "known_queues", "queue_of"]


@contextmanager
def channel_of(place: Place) -> Iterator[tuple[Any, App]]:
    """A channel to the broker of the app that a command names, and the app.

    Raises:
        GearmeshError: no broker is named, or it cannot be reached, or it refuses the command.
    """
    app = place.app()
    with channel_to(app) as channel:
        yield channel, app


@contextmanager
def channel_to(app: App) -> Iterator[Any]:
    """A channel to an app's broker. Raises as :func:`channel_of`."""
    with connect(app.config) as connection:
        try:
            yield connection.channel()
        except connection.connection_errors as exc:
            raise GearmeshError(f"broker {app.masked_broker} cannot be reached: {exc}") from exc
        except connection.channel_errors as exc:  # a key of that name is no queue, say
            raise GearmeshError(f"broker {app.masked_broker} refuses: {exc}") from exc


@contextmanager
def claims_of(app: App) -> Iterator[DeletedCallback | None]:
    """Give a function that releases the claims (``unique_for``) of deleted messages; close the app at the end.

    None: the result backend keeps no claims. If it is unreachable, a warning says so, once.
    """
    with app:
        backend = app.backend
        if not isinstance(backend, SupportsClaims):
            yield None
            return
        unreachable = False

        def gone(bodies: list[bytes]) -> None:
            nonlocal unreachable
            if unreachable:
                return
            try:
                with app.reached_backend():
                    release_claims(backend, bodies)
            except BackendError as exc:
                unreachable = True
                note(
                    f"{exc}: deleted calls of tasks with unique_for cannot be sent again until that ends",
                    "yellow",
                )

        yield gone


def inspecting(channel: Any) -> SupportsInspection:
    """The channel, if it can count and empty queues. Raises GearmeshError."""
    if not isinstance(channel, SupportsInspection):
        raise GearmeshError("this broker cannot count or empty its queues")
    return channel


def queue_of(app: App, task: str) -> str:
    """The queue that a call of this task goes to; the default one for a task that the app has not."""
    known = app.tasks.get(task)
    return (known.options.queue if known is not None else "") or app.default_queue


def known_queues(app: App, channel: Any) -> list[str]:
    """The app's default queue, those of its tasks, and all others that the broker lists, by name.

    RabbitMQ lists no queues. Redis looks at every key.
    """
    names = {app.default_queue, *(queue_of(app, task) for task in app.tasks)}
    if isinstance(channel, SupportsInspection):
        with suppress(GearmeshError):  # RabbitMQ does not list its queues
            names |= set(channel.queues())
    return sorted(names)


def is_unknown(app: App, channel: Any, queue: str) -> bool:
    """True if the queue is none of the app's, no message is in it, and no consumer that can be seen reads it."""
    if queue in (app.default_queue, *(queue_of(app, task) for task in app.tasks)):
        return False
    count = inspecting(channel).count(queue)
    return not any((count.pending, count.held, count.aside, count.dead, count.consumers, count.silent))
