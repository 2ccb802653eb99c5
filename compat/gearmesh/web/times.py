"""Makes times for pages: the age for people, and the exact time that a page shows on hovering."""

from __future__ import annotations

import time
from typing import NamedTuple

from gearmesh.inspection.times import age, exact, ns_of, ns_of_unix

__all__ = ["Moment", "moment", "moment_of_text", "moment_of_unix"]


class Moment(NamedTuple):
    """A time on a page. ``text`` is its age in words, and ``exact`` is RFC 3339; ``""``: the time is not known."""

    text: str
    exact: str


UNKNOWN = Moment("–", "")


def moment(ns: int | None) -> Moment:
    """Make a Moment from unix nanoseconds; None: not known."""
    return UNKNOWN if ns is None else Moment(age(ns, time.time_ns()), exact(ns))


def moment_of_text(text: str) -> Moment:
    """Make a Moment from the text of a time in a state."""
    return moment(ns_of(text))


def moment_of_unix(seconds: float | None) -> Moment:
    """Make a Moment from unix seconds; None: not known."""
    return moment(ns_of_unix(seconds))
