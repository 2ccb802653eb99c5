"""Reads a spec's text into its schedule."""

from __future__ import annotations

import re
from datetime import tzinfo
from typing import Final

from gearmesh.cron.durations import parse_duration
from gearmesh.cron.fields import BOUNDS, read_field
from gearmesh.cron.schedules import SECOND_NS, Calendar, Every, Schedule
from gearmesh.cron.zones import load_zone, local_zone
from gearmesh.errors import ConfigError

__all__ = ["in_zone", "parse"]

#: White space for Go's strings.Fields and strings.TrimSpace; Python's split would take U+001C to U+001F, too.
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_SPACE}]+")
_ENDS = re.compile(f"^[{_SPACE}]+|[{_SPACE}]+$")
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = "@every "
_ZONED: Final = ("TZ=", "CRON_TZ=")


def parse(spec: str, zone: tzinfo | None = None) -> Schedule:
    """Read a spec by the rules of Go's robfig/cron v3 (``ParseStandard``).

    Forms: five fields (minute, hour, day of month, month, day of week), ``@yearly``, ``@annually``, ``@monthly``,
    ``@weekly``, ``@daily``, ``@midnight``, ``@hourly``, ``@every DURATION``; before any of them ``TZ=ZONE`` or
    ``CRON_TZ=ZONE`` and a space.

    Args:
        spec: the text.
        zone: the zone of its wall times if it names none; None: this process's own (:func:`local_zone`).

    Raises:
        ConfigError: the message names the spec, its fault and the expected form.
    """
    if not isinstance(spec, str):
        raise ConfigError(f"spec is {spec!r:.80}, expected text such as '*/5 * * * *' or '@every 5s'")
    try:
        return _parse(spec, zone)
    except ValueError as exc:
        raise ConfigError(f"spec {spec!r}: {exc}") from None


def in_zone(spec: str, zone: str) -> str:
    """Return the spec with a zone in front of it, in a form that Go can read.

    Raises:
        ConfigError: the spec names a zone itself, or no such zone exists.
    """
    if spec.startswith(_ZONED):
        raise ConfigError(
            f"spec {spec!r} names a time zone, and so does tz={zone!r}: expected only one of them"
        )
    try:
        load_zone(zone)
    except ValueError as exc:
        raise ConfigError(f"spec {spec!r}, tz: {exc}") from None
    return f"CRON_TZ={zone} {spec}"


def _parse(spec: str, zone: tzinfo | None) -> Schedule:
    rest = spec
    if spec.startswith(_ZONED):
        named, space, rest = spec.partition(" ")
        if not space:  # Go: panics
            raise ValueError("expected a space and a schedule behind the time zone")
        name = named.partition("=")[2]
        if name != "Local":  # Go: "Local" is the same as no name
            zone = load_zone(name)
        rest = _ENDS.sub("", rest)
    if rest.startswith("@"):
        if rest.startswith(_EVERY):
            # Go: makes a duration below a second one second, and cuts off a fraction of a second.
            delay = max(parse_duration(rest[len(_EVERY) :]), SECOND_NS)
            return Every(delay - delay % SECOND_NS)
        if rest not in _WORDS:
            raise ValueError(f"{rest!r}, expected one of {', '.join(_WORDS)}, or {_EVERY}and a duration")
        rest = _WORDS[rest]
    fields = [word for word in _SPACES.split(rest) if word]
    if len(fields) != 5:
        raise ValueError(
            f"{len(fields)} fields, expected five: minute, hour, day of month, month, day of week"
        )
    values = tuple(read_field(text, bounds) for text, bounds in zip(fields, BOUNDS, strict=True))
    return Calendar(values, local_zone() if zone is None else zone)
