"""Moments on pages: how long ago for people, and the exact time on hovering."""

from __future__ import annotations

import time
from typing import NamedTuple

from gearmesh.inspection.times import age, exact, ns_of, ns_of_unix

__all__ = ["Moment", "moment", "moment_of_text", "moment_of_unix"]


class Moment(NamedTuple):
    """A time as a page shows it. ``exact`` is RFC 3339, and ``""`` where the time is not known."""

    text: str
    exact: str


UNKNOWN = Moment("–", "")


def moment(ns: int | None) -> Moment:
    """Unix nanoseconds as a Moment; None: not known."""
    return UNKNOWN if ns is None else Moment(age(ns, time.time_ns()), exact(ns))


def moment_of_text(text: str) -> Moment:
    """The time in a state."""
    return moment(ns_of(text))


def moment_of_unix(seconds: float | None) -> Moment:
    """Unix seconds as a Moment; None: not known."""
    return moment(ns_of_unix(seconds))
