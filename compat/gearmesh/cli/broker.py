"""A channel to the broker that a command uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from gearmesh.app.unique import release_claims
from gearmesh.cli.common import Place
from gearmesh.errors import BackendError, GearmeshError
from gearmesh.interfaces.backend import SupportsClaims
from gearmesh.interfaces.transport import DeletedCallback, SupportsInspection
from gearmesh.transports.registry import connect

__all__ = ["channel_of", "claims_of", "inspecting"]


@contextmanager
def channel_of(place: Place) -> Iterator[tuple[Any, str]]:
    """A channel, and the queue's name: the one given, else the app's default queue.

    Raises:
        GearmeshError: there is no broker, or it cannot be reached, or it refuses what is asked.
    """
    app = place.app()
    with connect(app.config) as connection:
        try:
            yield connection.channel(), place.queue or app.default_queue
        except connection.connection_errors as exc:
            raise GearmeshError(f"broker {app.masked_broker} cannot be reached: {exc}") from exc
        except connection.channel_errors as exc:  # a key of that name is no queue, say
            raise GearmeshError(f"broker {app.masked_broker} refuses: {exc}") from exc


@contextmanager
def claims_of(place: Place) -> Iterator[DeletedCallback | None]:
    """Gives a function for messages that are deleted: it gives up their claims (``unique_for``).

    None: the result backend keeps no claims. If it is unreachable, a warning says so, once.
    """
    with place.app() as app:
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
                text = f"{exc}: deleted calls of tasks with unique_for cannot be sent again until that ends"
                click.secho(text, fg="yellow", err=True)

        yield gone


def inspecting(channel: Any) -> SupportsInspection:
    """The channel, if it can count and empty queues. Raises GearmeshError."""
    if not isinstance(channel, SupportsInspection):
        raise GearmeshError("this broker cannot count or empty its queues")
    return channel
