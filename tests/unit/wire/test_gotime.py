"""Times that no recording has."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import gotime

MOMENTS = st.integers(-62167219200 * 10**9, 253402300800 * 10**9 - 1)


@given(MOMENTS)
def test_a_moment_comes_back(ns: int) -> None:
    text = gotime.format_ns(ns)
    assert gotime.parse(text) == ns
    assert gotime.is_canonical(text)
    assert gotime.canonical(text) == text


@given(MOMENTS, st.integers(-1439, 1439))
def test_a_moment_in_a_zone_comes_back(ns: int, minutes: int) -> None:
    try:
        text = gotime.format_ns(ns, minutes * 60)
    except LocalProtocolError:
        return  # the year there is -1 or 10000
    assert gotime.parse(text) == ns
    assert gotime.canonical(text) == text


LIKELY = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{1,2}:[0-9]{2}:[0-9]{2}\S{0,8}")


@given(st.text(max_size=30) | LIKELY)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        once = gotime.canonical(text)
    except RemoteProtocolError:
        assert not gotime.is_canonical(text)
        return
    assert gotime.canonical(once) == once
    assert gotime.parse(once) == gotime.parse(text)


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_datetimes(moment: datetime) -> None:
    text = gotime.from_datetime(moment)
    assert (
        datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=gotime.parse(text) // 1000) == moment
    )


def test_a_datetime_keeps_its_zone() -> None:
    zone = timezone(timedelta(hours=-3, minutes=-30))
    text = gotime.from_datetime(datetime(2026, 11, 21, 12, 0, 0, 120, zone))
    assert text == "2026-11-21T12:00:00.00012-03:30"


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (timedelta(hours=5, minutes=53, seconds=28), "2026-03-01T06:06:32Z"),  # Kolkata's local mean time
        (timedelta(hours=-4, minutes=-56, seconds=-2), "2026-03-01T16:56:02Z"),  # New York's
        (timedelta(seconds=561, microseconds=5), "2026-03-01T11:50:38.999995Z"),
    ],
)
def test_an_offset_with_seconds_is_exact(offset: timedelta, text: str) -> None:
    assert gotime.from_datetime(datetime(2026, 3, 1, 12, tzinfo=timezone(offset))) == text


OFFSETS = st.timedeltas(timedelta(hours=-24, microseconds=1), timedelta(hours=24, microseconds=-1))


@given(st.datetimes(), OFFSETS)
def test_every_datetime_keeps_its_moment(wall: datetime, offset: timedelta) -> None:
    moment = wall.replace(tzinfo=timezone(offset))
    try:
        text = gotime.from_datetime(moment)
    except LocalProtocolError:
        return  # the year in UTC is 0 or 10000
    exact = (wall - datetime(1970, 1, 1) - offset) // timedelta(microseconds=1) * 1000
    assert gotime.parse(text) == exact


def test_naive_datetimes_are_refused() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, moment: datetime | None) -> None:
            return None

        dst = utcoffset

        def tzname(self, moment: datetime | None) -> str:
            return "nowhere"

    for moment in (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=Nowhere())):
        with pytest.raises(LocalProtocolError, match="time zone"):
            gotime.from_datetime(moment)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-21T12:00:00+10:60", "2026-11-21T12:00:00+11:00"),
        ("2026-11-21T9:00:00,1239999999Z", "2026-11-21T09:00:00.123999999Z"),
        ("0000-02-29T00:00:00-00:00", "0000-02-29T00:00:00Z"),
        ("2026-11-21T12:00:00.000Z", "2026-11-21T12:00:00Z"),
    ],
)
def test_canonical_writes_a_time_as_go_does(text: str, written: str) -> None:
    assert gotime.canonical(text) == written
    assert not gotime.is_canonical(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:00:00+24:00",
        "2026-11-21T12:00:00+25:00",
        "2026-11-21T12:00:00+23:60",
        "2026-11-21T12:00:00+10:61",
        "٢026-11-21T12:00:00Z",
        "2026-11-21T12:00:00Z\n",
        "2023-02-29T00:00:00Z",
        "2026-00-21T12:00:00Z",
    ],
)
def test_canonical_refuses_a_text_that_is_no_time(text: str) -> None:
    assert not gotime.is_canonical(text)
    with pytest.raises(RemoteProtocolError):
        gotime.canonical(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-13-41T25:61:61Z", ": month out of range"),
        ("2026-11-41T25:61:61Z", ": hour out of range"),
        ("2026-11-21T23:60:00Z", ": minute out of range"),
        ("2026-11-21T23:59:60Z", ": second out of range"),
        ("2026-11-31T00:00:00Z", ": day out of range"),
        ("2026-01-00T00:00:00Z", ": day out of range"),
        ("2026-11-21T12:00:00+25:00", ": time zone offset hour out of range"),
        ("2026-11-21T12:00:00+25:61", ": time zone offset minute out of range"),
        ("2026-11-21T12:00:00Zx", ': extra text: "x"'),
        ('2026-11-21T12:00:00"', ' as "2006-01-02T15:04:05Z07:00": cannot parse "\\"" as "Z07:00"'),
        ("29.11.2026", ' as "2006-01-02T15:04:05Z07:00": cannot parse "29.11.2026" as "2006"'),
        ("2026-11-21T12:0:00Z", ' as "2006-01-02T15:04:05Z07:00": cannot parse "0:00Z" as "04"'),
    ],
)
def test_a_time_is_refused_in_go_s_words(text: str, why: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        gotime.parse(text)
    quoted = text.replace('"', r"\"")
    assert str(caught.value) == f'parsing time "{quoted}"{why}'
