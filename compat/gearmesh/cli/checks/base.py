"""The input of the doctor's checks and their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from gearmesh.app.app import App
from gearmesh.config import Config

__all__ = ["Case", "Check", "Finding", "Level"]

#: ``problem``: tasks or results are, or will be, lost, late or run twice. ``note``: the user may want it so.
Level = Literal["problem", "note", "ok"]


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check on one server or queue.

    Attributes:
        level: the severity. about: the server or queue, without a password. text: the observation.
        advice: the remedy; ``""`` if none is needed.
    """

    level: Level
    about: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Case:
    """The app and the queues that the doctor examines.

    Attributes:
        app: the app, with its servers and settings.
        queues: further queues, besides the default queue.
        management: URL of RabbitMQ's management API, e.g. ``http://guest:guest@localhost:15672``; ``""``: none.
        spec: the app as ``-A`` names it; ``""``: only servers were named.
    """

    app: App
    queues: tuple[str, ...] = ()
    management: str = ""
    spec: str = ""

    @property
    def config(self) -> Config:
        """The app's settings."""
        return self.app.config


Check = Callable[[Case], Iterator[Finding]]
