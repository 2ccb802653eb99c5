"""The choices of an age in the filters of pages: in the last hour, over a day ago, and so on."""

from __future__ import annotations

import time
from typing import Final

from gearmesh.web.forms import Fields

__all__ = ["AGE_TEXTS", "age_of", "fits_age"]

#: Choice -> seconds, and True if younger things fit, False if older ones do.
AGES: Final = {
    "under-1m": (60, True),
    "under-1h": (3600, True),
    "under-1d": (86400, True),
    "over-1m": (60, False),
    "over-1h": (3600, False),
    "over-1d": (86400, False),
}
#: The words of each choice, in the order of the list.
AGE_TEXTS: Final = (
    ("under-1m", "in the last minute"),
    ("under-1h", "in the last hour"),
    ("under-1d", "in the last day"),
    ("over-1m", "over a minute ago"),
    ("over-1h", "over an hour ago"),
    ("over-1d", "over a day ago"),
)


def age_of(fields: Fields) -> str:
    """Read the choice from a query or a form; "" if the field has no such choice."""
    choice = fields.text("age")
    return choice if choice in AGES else ""


def fits_age(choice: str, at_ns: int | None) -> bool:
    """True if a time, in unix nanoseconds, has the age of ``choice``; every time fits an unknown choice."""
    if choice not in AGES:
        return True
    seconds, younger = AGES[choice]
    return at_ns is not None and (time.time_ns() - at_ns < seconds * 1e9) == younger
