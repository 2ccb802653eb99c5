"""Every time of a spec, compared with a plain loop that checks the zone's clock at each minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gearmesh.cron import parse

ZONES = (
    "UTC",
    "America/New_York",
    "Europe/London",
    "Europe/Dublin",  # its winter is the exception
    "Australia/Lord_Howe",  # half an hour
    "America/Sao_Paulo",  # a midnight that is not there
    "Africa/Casablanca",  # a month of another offset in the midst of summer
    "Pacific/Apia",  # a day that is not there
    "Asia/Kathmandu",
)
#: (name, least, most) of the five fields.
FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
DAY = 86_400
#: Unix seconds around which these zones change their clocks, and leap days.
TURNS = (
    1_710_054_000,
    1_730_613_600,
    1_743_296_400,
    1_712_415_600,
    1_541_300_400,
    1_325_239_200,
    1_709_164_800,
)


def read(text: str, least: int, most: int) -> tuple[set[int], bool]:
    """A field with numbers, as the manual of robfig/cron explains it."""
    numbers: set[int] = set()
    star = False
    for part in text.split(","):
        base, _, step = part.partition("/")
        if base == "*":
            low, high = least, most
            star = star or step in ("", "1")
        elif "-" in base:
            low, high = map(int, base.split("-"))
        else:
            low = int(base)
            high = most if step else low
        numbers.update(range(low, high + 1, int(step or 1)))
    return numbers, star


def minute_by_minute(spec: str, zone: str, start: int, end: int) -> Iterator[int]:
    """Yield the minutes in (start, end) at which the zone's clock matches the spec."""
    fields = [read(text, least, most) for text, (_, least, most) in zip(spec.split(), FIELDS, strict=True)]
    (minutes, _), (hours, _), (days, day_star), (months, _), (weekdays, weekday_star) = fields
    info = ZoneInfo(zone)
    for moment in range(start - start % 60 + 60, end, 60):
        clock = datetime.fromtimestamp(moment, timezone.utc).astimezone(info)
        day, weekday = clock.day in days, clock.isoweekday() % 7 in weekdays
        matches = (day and weekday) if day_star or weekday_star else (day or weekday)
        if matches and clock.minute in minutes and clock.hour in hours and clock.month in months:
            yield moment


@st.composite
def field(draw: st.DrawFn, least: int, most: int) -> str:
    """A field: stars more often than not, for else nothing would ever match."""
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        low = draw(st.integers(least, most))
        form = draw(st.sampled_from(["*", "*", "*/", "n", "n-m", "n-m/", "n/"]))
        step = draw(st.integers(1, 8))
        high = draw(st.integers(low, most))
        forms = {"*": "*", "*/": f"*/{step}", "n": f"{low}", "n-m": f"{low}-{high}"}
        parts.append({**forms, "n-m/": f"{low}-{high}/{step}", "n/": f"{low}/{step}"}[form])
    return ",".join(parts)


@st.composite
def spec(draw: st.DrawFn) -> str:
    return " ".join(draw(field(least, most)) for _, least, most in FIELDS)


@settings(max_examples=100, deadline=None)
@given(spec(), st.sampled_from(ZONES), st.sampled_from(TURNS), st.integers(-2 * DAY, DAY))
@example("30 0 30,31 12 *", "Pacific/Apia", 1_325_239_200, -DAY)
@example("*/5 0-2 * * *", "Australia/Lord_Howe", 1_712_415_600, -DAY)
@example("30 1 * * *", "America/New_York", 1_730_613_600, -DAY)
@example("0 0 1-31 * 1", "UTC", 1_710_054_000, 0)
@example("0 0 1 * 0-6", "UTC", 1_710_054_000, 0)
def test_against_a_clock(spec: str, zone: str, turn: int, shift: int) -> None:
    start = turn + shift
    end = start + 3 * DAY
    wanted = list(minute_by_minute(spec, zone, start, end))
    schedule = parse(spec, ZoneInfo(zone))
    for after in (start, start + DAY, start + 2 * DAY):
        here = [moment for moment in wanted if moment > after][:40]
        times = schedule.times(after * 10**9)
        assert [moment // 10**9 for moment in islice(times, len(here))] == here
    beyond = schedule.next((wanted[-1] if wanted else start) * 10**9)
    assert beyond is None or beyond >= end * 10**9
