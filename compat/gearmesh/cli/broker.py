"""A channel to the broker that a command was told of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gearmesh.cli.common import Place
from gearmesh.errors import GearmeshError
from gearmesh.transports.base import Inspecting
from gearmesh.transports.registry import connect

__all__ = ["channel_of", "inspecting"]


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
            raise GearmeshError(f"broker {app.shown_broker} cannot be reached: {exc}") from exc
        except connection.channel_errors as exc:  # a key of that name is no queue, say
            raise GearmeshError(f"broker {app.shown_broker} refuses: {exc}") from exc


def inspecting(channel: Any) -> Inspecting:
    """The channel, if it can count and empty queues. Raises GearmeshError."""
    if not isinstance(channel, Inspecting):
        raise GearmeshError("this broker does not let its queues be counted or emptied")
    return channel
