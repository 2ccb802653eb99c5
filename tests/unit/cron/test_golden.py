"""Go's robfig/cron said this, line by line: 327 specs, 7 starts, the next five times."""

from __future__ import annotations

import json
from datetime import timezone, tzinfo
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from gearmesh.cron import parse
from gearmesh.errors import ConfigError
from gearmesh.wire import gotime

NEVER: Final = "0001-01-01T00:00:00Z"
LORD_HOWE: Final = "Australia/Lord_Howe"
SAO_PAULO: Final = "America/Sao_Paulo"


class Line(NamedTuple):
    """One recorded line."""

    spec: str
    zone: str
    start: str
    next: tuple[str, ...]


@cache
def recorded() -> list[dict[str, Any]]:
    path = Path(__file__).parents[2] / "golden" / "cron.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").strip("\n").split("\n")]


def lines() -> list[Line]:
    """The lines with times."""
    return [
        Line(each["spec"], each["from_zone"], each["from"], tuple(each["next"]))
        for each in recorded()
        if each["valid"]
    ]


def zone_of(name: str) -> tzinfo:
    return timezone.utc if name == "UTC" else ZoneInfo(name)


def ours(line: Line) -> list[int]:
    return list(islice(parse(line.spec, zone_of(line.zone)).times(gotime.parse(line.start)), 5))


def gos(line: Line) -> list[int]:
    return [gotime.parse(moment) for moment in line.next if moment != NEVER]


HALF_HOUR: Final = (
    "its clocks go back half an hour, from 02:00 to 01:30, and Go counts whole hours from a midnight before: it "
    "leaves out the full hours behind the change, or a whole day"
)
GAP: Final = "its clocks skip midnight, and Go takes 01:30 of the 4th for 01:30 of the 3rd"

#: Times that Go leaves out, or has too many of, line by line. All lines start on the day of the change.
LEFT_OUT: Final[dict[str, str]] = {
    "0 5/6 * * *": "2024-04-07T05:00:00+10:30",
    "0 0 ? * *": "2024-04-08T00:00:00+10:30",
    "0 0 * * ?": "2024-04-08T00:00:00+10:30",
    "0 0 ? * ?": "2024-04-08T00:00:00+10:30",
    "0 9-17 * * *": "2024-04-07T09:00:00+10:30",
    "0 9-17/2 * * *": "2024-04-07T09:00:00+10:30",
    "0 0 * * SUN": "2024-04-14T00:00:00+10:30",
    "0 0 * * sun": "2024-04-14T00:00:00+10:30",
    "0 0 * * SUN-SAT": "2024-04-08T00:00:00+10:30",
    "0 0 * * sun-tue": "2024-04-08T00:00:00+10:30",
    "0 0 * * 0": "2024-04-14T00:00:00+10:30",
    "0 0 * * */2": "2024-04-09T00:00:00+10:30",
    "0 0 * * */1": "2024-04-08T00:00:00+10:30",
    "0 0 * * */7": "2024-04-14T00:00:00+10:30",
    "0 0 * * 0-6": "2024-04-08T00:00:00+10:30",
    "0 0 1-7 * MON": "2024-04-08T00:00:00+10:30",
    "0 0 */2 * */2": "2024-04-09T00:00:00+10:30",
    "0 0 1-31 * MON": "2024-04-08T00:00:00+10:30",
    "0 0 1 * */2": "2024-04-09T00:00:00+10:30",
    "0 0 1 * 0-6": "2024-04-08T00:00:00+10:30",
    "05 08 * * *": "2024-04-07T08:05:00+10:30",
    "@weekly": "2024-04-14T00:00:00+10:30",
    "@daily": "2024-04-08T00:00:00+10:30",
    "@midnight": "2024-04-08T00:00:00+10:30",
    "CRON_TZ=Australia/Lord_Howe 15 2 * * *": "2024-04-07T02:15:00+10:30",
    "CRON_TZ=Australia/Lord_Howe 0 2 * * *": "2024-04-07T02:00:00+10:30",
    "TZ=Local 0 6 * * *": "2024-04-07T06:00:00+10:30",
    "0 2 * * *": "2024-04-07T02:00:00+10:30",
    "0 3 * * *": "2024-04-07T03:00:00+10:30",
    "0 0 * * *": "2024-04-08T00:00:00+10:30",
    "0 */2 * * *": "2024-04-07T02:00:00+10:30",
    "0 0 3 * SUN": "2024-04-14T00:00:00+10:30",
    "* 2 * * *": "2024-04-07T02:00:00+10:30",
    "0\xa06 * * *": "2024-04-07T06:00:00+10:30",
    "0\u20036 * * *": "2024-04-07T06:00:00+10:30",
    "0\r\n6 * * *": "2024-04-07T06:00:00+10:30",
    "\x0b0\x0c6 * * *": "2024-04-07T06:00:00+10:30",
    "0\x856 * * *": "2024-04-07T06:00:00+10:30",
}
TOO_MUCH: Final[dict[str, str]] = {"30 1 3 11 *": "2018-11-04T01:30:00-02:00"}


def go_is_wrong(line: Line) -> bool:
    return (line.zone == LORD_HOWE and line.spec in LEFT_OUT) or (
        line.zone == SAO_PAULO and line.spec in TOO_MUCH
    )


def test_all_are_there() -> None:
    assert len({each["spec"] for each in recorded()}) == 327
    assert len(lines()) == 1393


def test_python_accepts_the_same_specs_as_go() -> None:
    differ = []
    for each in recorded():
        try:
            parse(each["spec"])
            valid = True
        except ConfigError:
            valid = False
        if valid != each["valid"]:
            differ.append(each["spec"])
    assert differ == []


def test_times() -> None:
    """Everywhere but in the lines below; in UTC and where clocks are set by whole hours, that is everywhere."""
    differ = [(line, ours(line)) for line in lines() if not go_is_wrong(line) and ours(line) != gos(line)]
    assert differ == []
    apart = [line for line in lines() if go_is_wrong(line)]
    assert len(apart) == len(LEFT_OUT) + len(TOO_MUCH) == 39


@pytest.mark.parametrize("spec", LEFT_OUT)
def test_python_has_the_time_that_go_leaves_out(spec: str) -> None:
    (line,) = [line for line in lines() if line.spec == spec and line.zone == LORD_HOWE]
    left_out = gotime.parse(LEFT_OUT[spec])
    assert left_out in ours(line), HALF_HOUR
    assert left_out not in gos(line)
    # Else they agree, from the day after the change on.
    later = max(left_out, gotime.parse("2024-04-08T00:00:00+10:30"))
    common = min(ours(line)[-1], gos(line)[-1])
    assert [m for m in ours(line) if later < m <= common] == [m for m in gos(line) if later < m <= common]


@pytest.mark.parametrize("spec", TOO_MUCH)
def test_python_leaves_out_the_time_that_go_has_too_much(spec: str) -> None:
    (line,) = [line for line in lines() if line.spec == spec and line.zone == SAO_PAULO]
    assert gos(line)[0] == gotime.parse(TOO_MUCH[spec]), GAP
    assert ours(line)[:4] == gos(line)[1:]
