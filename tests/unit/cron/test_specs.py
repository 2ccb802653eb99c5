"""Specs and schedules beyond the recordings: errors, bounds, zones, durations."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from time import process_time
from zoneinfo import ZoneInfo

import pytest

from gearmesh.cron import Calendar, Every, in_zone, last_times, local_zone, parse
from gearmesh.cron.durations import parse_duration
from gearmesh.cron.zones import load_zone
from gearmesh.errors import ConfigError
from gearmesh.wire import gotime

SECOND = 10**9
START = gotime.parse("2024-02-28T23:58:00Z")


def times(spec: str, start: str, zone: str = "UTC", count: int = 3) -> list[str]:
    info = ZoneInfo(zone)
    found = islice(parse(spec, info).times(gotime.parse(start)), count)
    return [datetime.fromtimestamp(moment // SECOND, info).isoformat() for moment in found]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("0 0 * * 7", "day of week '7': expected numbers from 0 to 6"),
        ("0 22-2 * * *", "hour '22-2': expected numbers from 0 to 23, the smaller one first"),
        ("0 0 1 januar *", "month 'januar': expected a number from 1 to 12, or one of jan feb"),
        ("*/0 * * * *", "minute '*/0': expected a whole number above 0 behind '/'"),
        ("* * * * * *", "6 fields, expected five: minute, hour, day of month, month, day of week"),
        ("@fortnightly", "expected one of @yearly"),
        ("@every 1d", "unit 'd', expected one of ns, us"),
        ("TZ=Nope * * * * *", "time zone 'Nope': expected a name such as UTC"),
        ("TZ=UTC", "expected a space and a schedule behind the time zone"),
        ("TZ=America * * * * *", "time zone 'America'"),  # a folder
        ("TZ=\x00 * * * * *", "time zone"),
        ("TZ=zone.tab * * * * *", "time zone 'zone.tab'"),  # a file, but no zone's
    ],
)
def test_errors_name_spec_value_and_expectation(spec: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(spec))) as error:
        parse(spec)
    assert says in str(error.value)


def test_parse_refuses_a_spec_that_is_no_text() -> None:
    with pytest.raises(ConfigError, match="spec is 5, expected text"):
        parse(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("+5s", 5 * SECOND),
        ("-1.5h", -5400 * SECOND),
        ("1h1m1s1ms1us1ns", 3661_001_001_001),
        ("1μs1µs", 2000),
        (".5m", 30 * SECOND),
        ("5.s", 5 * SECOND),
        ("0.000000000000000000001h", 0),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "+",
        ".",
        "s",
        "1",
        "1 s",
        "1s ",
        "--1s",
        ".s",
        "1e3s",
        "9223372036854775808ns",
        "9" * 50 + "h",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("spec", "seconds"), [("@every 500ms", 1), ("@every 1.9s", 1), ("@every -5m", 1), ("@every 1h0.5s", 3600)]
)
def test_every_is_in_whole_seconds(spec: str, seconds: int) -> None:
    assert parse(spec) == Every(seconds * SECOND)


def test_every_is_due_on_the_second() -> None:
    assert parse("@every 2s").next(START + 123) == START + 2 * SECOND
    assert parse("@every 1s").next(START + SECOND - 1) == START + SECOND


def test_a_repeated_hour_comes_twice_and_a_skipped_one_not_at_all() -> None:
    back = times("30 1 * * *", "2024-11-02T12:00:00Z", "America/New_York")
    assert back == ["2024-11-03T01:30:00-04:00", "2024-11-03T01:30:00-05:00", "2024-11-04T01:30:00-05:00"]
    forth = times("30 2 * * *", "2024-03-09T12:00:00Z", "America/New_York", 2)
    assert forth == ["2024-03-11T02:30:00-04:00", "2024-03-12T02:30:00-04:00"]


def test_within_the_repeated_hour() -> None:
    """Asked between both: the second one is still to come, although the clock has shown it."""
    assert times("30 1 3 11 *", "2024-11-03T05:45:00Z", "America/New_York", 1) == [
        "2024-11-03T01:30:00-05:00"
    ]


def test_a_skipped_day() -> None:
    """Go hangs here."""
    assert times("0 12 30 12 *", "2011-12-01T00:00:00Z", "Pacific/Apia", 1) == ["2012-12-30T12:00:00+14:00"]
    assert times("0 0 * * *", "2011-12-29T12:00:00Z", "Pacific/Apia", 2) == [
        "2011-12-31T00:00:00+14:00",
        "2012-01-01T00:00:00+14:00",
    ]


@pytest.mark.parametrize(
    "spec", ["0 0 31 2 *", ", * * * *", "0 0 31 4,6,9,11 *", "TZ=Pacific/Apia 0 0 30 2 *"]
)
def test_never_is_found_soon(spec: str) -> None:
    began = process_time()
    assert parse(spec).next(START) is None
    assert process_time() - began < 1.0


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("2096-02-29T00:00:00Z", []),  # 2104 is eight years away
        ("2098-12-31T23:59:58Z", []),
        ("2098-12-31T23:59:59Z", ["2104-02-29T00:00:00+00:00"]),  # the search begins a second later, in 2099
        ("2099-06-01T00:00:00Z", ["2104-02-29T00:00:00+00:00"]),
    ],
)
def test_the_search_ends_with_the_fifth_year(start: str, found: list[str]) -> None:
    assert times("0 0 29 2 *", start, count=1) == found


def test_the_end_of_time() -> None:
    assert times("* * * * *", "9999-12-31T23:58:30Z", count=5) == ["9999-12-31T23:59:00+00:00"]


def test_a_star_in_either_day_field_means_both_must_match() -> None:
    start = "2024-06-01T12:00:00Z"
    assert times("0 0 13 * 5", start, count=2) == ["2024-06-07T00:00:00+00:00", "2024-06-13T00:00:00+00:00"]
    assert times("0 0 13 * *", start, count=1) == ["2024-06-13T00:00:00+00:00"]
    assert times("0 0 */1 * 5", start, count=1) == ["2024-06-07T00:00:00+00:00"]
    assert times("0 0 */2 * 5", start, count=2) == ["2024-06-03T00:00:00+00:00", "2024-06-05T00:00:00+00:00"]


def test_a_spec_names_its_zone() -> None:
    assert in_zone("0 6 * * *", "Asia/Tokyo") == "CRON_TZ=Asia/Tokyo 0 6 * * *"
    schedule = parse(in_zone("0 6 * * *", "Asia/Tokyo"))
    assert isinstance(schedule, Calendar)
    assert schedule.next(START) == gotime.parse("2024-03-01T06:00:00+09:00")
    with pytest.raises(ConfigError, match="only one of them"):
        in_zone("TZ=UTC 0 6 * * *", "Asia/Tokyo")
    with pytest.raises(ConfigError, match="'Nope'"):
        in_zone("0 6 * * *", "Nope")


@pytest.mark.parametrize(
    ("tz", "hour"),
    [
        ("", 6),
        ("UTC", 6),
        ("Asia/Tokyo", 21),
        (":Asia/Tokyo", 21),
        ("EST5EDT,M3.2.0,M11.1.0", 6),  # Go: no zone file is UTC
        ("No/Where", 6),
    ],
)
def test_the_process_has_a_zone_as_go_finds_it(monkeypatch: pytest.MonkeyPatch, tz: str, hour: int) -> None:
    monkeypatch.setenv("TZ", tz)
    found = parse("0 6 * * *").next(gotime.parse("2024-06-01T00:00:00Z"))
    assert found is not None
    assert datetime.fromtimestamp(found // SECOND, timezone.utc).hour == hour
    assert parse("TZ=Local 0 6 * * *").next(gotime.parse("2024-06-01T00:00:00Z")) == found


def test_the_process_has_a_zone_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", str(tmp_path / "none"))
    assert local_zone() is timezone.utc
    file = Path("/usr/share/zoneinfo/Asia/Tokyo")
    if not file.exists():
        pytest.skip("no zone files: apt-get install tzdata")
    (tmp_path / "localtime").symlink_to(file)
    monkeypatch.setenv("TZ", str(tmp_path / "localtime"))
    assert str(local_zone()) == "Asia/Tokyo"
    monkeypatch.delenv("TZ")
    assert local_zone() is not None


def test_zones_by_name() -> None:
    assert load_zone("") is timezone.utc
    for name in ("/etc/passwd", "\\x", "../UTC", "a/../UTC", "utc"):
        with pytest.raises(ValueError, match="time zone"):
            load_zone(name)


def test_the_last_times() -> None:
    schedule = parse("*/10 * * * *", timezone.utc)
    now = gotime.parse("2024-06-01T12:00:00Z")
    minute = 60 * SECOND
    assert last_times(schedule, now - 25 * minute, now, 10) == [now - 20 * minute, now - 10 * minute, now]
    assert last_times(schedule, now - 25 * minute, now, 2) == [now - 10 * minute, now]
    assert last_times(schedule, now - 5 * minute, now - minute, 2) == []
    yearly = parse("@yearly", timezone.utc)
    years = last_times(yearly, gotime.parse("2020-06-01T00:00:00Z"), now, 2)
    assert years == [gotime.parse("2023-01-01T00:00:00Z"), gotime.parse("2024-01-01T00:00:00Z")]


def test_the_last_times_of_a_long_while_are_found_soon() -> None:
    began = process_time()
    now = gotime.parse("2024-06-01T12:00:00Z")
    assert len(last_times(parse("* * * * *", timezone.utc), 0, now, 100)) == 100
    assert process_time() - began < 2.0
