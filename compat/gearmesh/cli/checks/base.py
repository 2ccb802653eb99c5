"""What checks are given, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from gearmesh.app.app import App
from gearmesh.config import Config

__all__ = ["Case", "Check", "Finding", "Level"]

#: ``problem``: tasks or results are, or will be, lost, late or run twice. ``note``: it may be meant so.
Level = Literal["problem", "note", "ok"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: how bad it is. about: the server or queue, without a password. text: what was found.
        advice: what to do; ``""``: nothing.
    """

    level: Level
    about: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Case:
    """What is looked at.

    Attributes:
        app: its servers and settings.
        queues: custom queues to look at, in addition to the default one.
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
