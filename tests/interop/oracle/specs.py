"""Makes cron specs from a seed, and says when Python finds them due."""

from __future__ import annotations

import random
from datetime import timezone
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from gearmesh.cron import parse
from gearmesh.errors import ConfigError

from .process import Answer, Case

__all__ = ["cron_cases", "due"]

#: Zones whose clocks change by an hour, in either season, and some that do not change. Those with changes by half an
#: hour or at midnight are left out: there Go leaves out due times, and gearmesh does not (docs/howto/periodic.md).
_ZONES: Final = (
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Dublin",
    "America/Los_Angeles",
    "Asia/Kathmandu",
)
_FIELDS: Final = (
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, ("JAN", "feb", "Mar", "DEC")),
    (0, 6, ("SUN", "mon", "Sat")),
)
_WHOLE: Final = (
    "@daily",
    "@hourly",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
    "@midnight",
    "@never",
    "@Daily",
    "@reboot",
)
_EVERY: Final = (
    "1s",
    "90s",
    "1h30m",
    "1.5h",
    "100ms",
    "1m1s",
    "0",
    "-1h",
    "1",
    "h",
    "1h 2m",
    "36h",
    "1us",
    "2562047h",
)
_ODD: Final = (
    "?",
    "60",
    "-1",
    "1-",
    "*/0",
    "5-3",
    "a",
    "",
    "1/",
    "L",
    "7",
    "*/",
    "1,,2",
    "1-2-3",
    "1/2/3",
    "0x1",
    "+1",
    "*-5",
)
#: The years 2001 to 2032.
_MIN_UNIX_S: Final = 980_000_000
_MAX_UNIX_S: Final = 1_970_000_000
#: As many due times as the oracle tells.
TIMES: Final = 3


def cron_cases(seed: int, count: int) -> list[Case]:
    """Cases for the oracle, the same for the same seed."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        moment = rng.randrange(_MIN_UNIX_S, _MAX_UNIX_S)
        found.append(Case(b"C", f"{_spec(rng)}\0{rng.choice(_ZONES)}\0{moment}".encode()))
    return found


def _spec(rng: random.Random) -> str:
    way = rng.random()
    if way < 0.05:
        return rng.choice(_WHOLE)
    if way < 0.12:
        return f"@every {rng.choice(_EVERY)}"
    fields = [_field(rng, *bounds) for bounds in _FIELDS]
    if rng.random() < 0.01:
        fields = fields[: rng.randrange(5)] + ["*"] * rng.randrange(3)
    spec = rng.choice((" ", " ", " ", "  ", "\t")).join(fields)
    if rng.random() < 0.15:
        spec = f"{rng.choice(('TZ=', 'CRON_TZ='))}{rng.choice((*_ZONES, 'Nowhere/City'))} {spec}"
    return spec


def _field(rng: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    way = rng.random()
    if way < 0.45:
        return "*"
    if way < 0.47:
        return rng.choice(_ODD)
    if way < 0.6:
        return f"*/{rng.randrange(1, high + 3)}"
    return ",".join(_part(rng, low, high, names) for _ in range(rng.choice((1, 1, 1, 2, 3))))


def _part(rng: random.Random, low: int, high: int, names: tuple[str, ...]) -> str:
    if names and rng.random() < 0.2:
        return rng.choice(names)
    first = rng.randint(low, high)
    way = rng.random()
    if way < 0.6:
        return str(first)
    text = f"{first}-{rng.randint(first, high)}"
    return text if way < 0.85 else f"{text if way < 0.95 else first}/{rng.randrange(1, high)}"


def due(case: Case) -> Answer:
    """Python's answer."""
    spec, zone, unix = case.data.decode().split("\0")
    try:
        schedule = parse(spec, timezone.utc if zone == "UTC" else ZoneInfo(zone))
    except ConfigError as exc:
        return Answer(b"-", str(exc).encode())
    found = [str(moment) for moment in islice(schedule.times(int(unix) * 10**9), TIMES)]
    if len(found) < TIMES:
        found.append("never")
    return Answer(b"=", " ".join(found).encode())
