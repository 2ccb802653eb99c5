"""Opens a channel to the broker that a command names, and releases the claims of messages that the command deletes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gearmesh.app.app import App
from gearmesh.app.unique import release_claims
from gearmesh.cli.common import Place
from gearmesh.cli.output import note
from gearmesh.errors import BackendError
from gearmesh.inspection.broker import channel_to
from gearmesh.interfaces.backend import SupportsClaims
from gearmesh.interfaces.transport import DeletedCallback

__all__ = ["channel_of", "claims_of"]


@contextmanager
def channel_of(place: Place) -> Iterator[tuple[Any, App]]:
    """Open a channel to the broker of the app that a command names; yields the channel and the app.

    Raises:
        GearmeshError: no broker is named, or it cannot be reached, or it refuses the command.
    """
    app = place.app()
    with channel_to(app) as channel:
        yield channel, app


@contextmanager
def claims_of(app: App) -> Iterator[DeletedCallback | None]:
    """Yield a function that releases the claims (``unique_for``) of deleted messages; close the app at the end.

    Yields None if the result backend keeps no claims. If the backend is unreachable, the function prints one warning.
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
                    f"{exc}: the deleted calls of tasks with unique_for cannot be sent again until unique_for ends",
                    "yellow",
                )

        yield gone
