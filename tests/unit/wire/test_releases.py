"""The setting machinery_release: gearmesh refuses to send a message that older releases cannot read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh import App, chain, chord, group
from gearmesh.cli.checks import Case
from gearmesh.cli.checks.releases import releases
from gearmesh.config import Config
from gearmesh.errors import ConfigError, LocalProtocolError, TaskFailed
from gearmesh.types import Uint64
from gearmesh.wire.codec import encode
from gearmesh.wire.releases import Release, ReleaseLimits, features, parse_releases
from gearmesh.wire.signature import Signature
from gearmesh.wire.types import arg, result
from gearmesh.worker import Worker

BIG = 2**63
#: Each row: releases, RabbitMQ or not, and whether a big unsigned value, bytes and the option are taken.
TABLE = [
    ("v1.6.6", False, False, False, True),
    ("v1.6.6", True, False, False, False),
    ("v1.6.9", False, False, True, True),
    ("v1.8.8", False, False, True, True),
    ("v1.8.8", True, False, True, False),
    ("v1.10.6", True, False, True, False),
    ("v1.10.7", False, True, True, True),
    ("v1.10.8", True, True, True, False),
    ("v2.0.10", False, False, True, True),
    ("v2.0.11", True, False, True, False),
    ("v2.0.12", True, True, True, False),
    ("v2.0.13", True, True, True, False),
    ("v2.0.14", True, True, True, True),
    ("v2.0.16", False, True, True, True),
    ("v1.10.8, v2.0.10", False, False, True, True),
    ("v1.10.8,v2.0.16", True, True, True, False),
]


def taken(releases: str, amqp: bool, sig: Signature) -> bool:
    try:
        ReleaseLimits(parse_releases(releases), amqp=amqp).check_message("q", encode(sig))
    except LocalProtocolError:
        return False
    return True


@pytest.mark.parametrize(("releases", "amqp", "unsigned", "octets", "option"), TABLE)
def test_each_release_takes_only_messages_within_its_limits(
    releases: str, amqp: bool, unsigned: bool, octets: bool, option: bool
) -> None:
    for type in ("uint", "uint64"):
        assert taken(releases, amqp, Signature(Name="t", Args=(arg(type, BIG),))) is unsigned
        assert taken(releases, amqp, Signature(Name="t", Args=(arg(f"[]{type}", [1, BIG]),))) is unsigned
        assert taken(releases, amqp, Signature(Name="t", Args=(arg(type, BIG - 1),)))
    for type in ("[]byte", "[]uint8"):
        assert taken(releases, amqp, Signature(Name="t", Args=(arg(type, b"ab"),))) is octets
    assert taken(releases, amqp, Signature(Name="t", IgnoreWhenTaskNotRegistered=True)) is option
    # A text that reads like a type is a text.
    assert taken(releases, amqp, Signature(Name="uint64", Args=(arg("string", "[]byte"),)))


@pytest.mark.parametrize(
    "nested",
    [
        lambda bad: Signature(Name="first", OnSuccess=(bad,)),
        lambda bad: Signature(Name="first", OnError=(Signature(Name="second", OnSuccess=(bad,)),)),
        lambda bad: Signature(Name="first", GroupUUID="g", GroupTaskCount=1, ChordCallback=bad),
    ],
)
def test_successors_and_callbacks_are_checked(nested: Any) -> None:
    bad = Signature(Name="t", Args=(arg("uint64", BIG),))
    with pytest.raises(LocalProtocolError, match=r"task 't', argument 1 as uint64 is 9223372036854775808"):
        ReleaseLimits(parse_releases("v1.8.8")).check_message("q", encode(nested(bad)))


def test_errors_name_task_argument_value_and_release() -> None:
    limits = ReleaseLimits(parse_releases("v1.6.6"), amqp=True)
    with pytest.raises(LocalProtocolError) as error:
        limits.check_message(
            "q", encode(Signature(Name="t", Args=(arg("int64", 1), arg("uint64", BIG, "n"))))
        )
    assert str(error.value) == (
        "task 't', argument 2 ('n') as uint64 is 9223372036854775808: Machinery v1.6.6 cannot take unsigned values "
        "above 2^63-1, expected v1.10.7 or v2.0.12 or later everywhere (the setting machinery_release)"
    )
    with pytest.raises(
        LocalProtocolError, match=r"'t', result 1 as \[\]uint8 is b'ab': .* v1.6.9 or v2.0.0 or"
    ):
        limits.check_results("t", [result("[]byte", b"ab")])
    with pytest.raises(
        LocalProtocolError, match=r"'t', option ignore_unregistered is True: .*expected v2.0.14"
    ):
        limits.check_message("q", encode(Signature(Name="t", IgnoreWhenTaskNotRegistered=True)))


def test_unreadable_arguments_are_left_to_their_reader() -> None:
    junk = Signature(Name="t", Args=(msgspec.structs.replace(arg("uint64", 1), Value=msgspec.Raw(b'"x"')),))
    ReleaseLimits(parse_releases("v1.6.6")).check_message("q", encode(junk))


@given(st.integers(1, 2), st.integers(6, 30), st.integers(0, 30))
def test_releases_are_read_as_they_are_shown(major: int, minor: int, patch: int) -> None:
    release = Release(major, minor, patch)
    assert parse_releases(str(release)) == parse_releases(str(release)[1:]) == (release,)


@given(
    st.integers(0, 1),
    st.tuples(st.integers(6, 20), st.integers(0, 20)),
    st.tuples(st.integers(6, 20), st.integers(0, 20)),
)
def test_a_later_release_takes_all_that_an_earlier_one_does(
    major: int, one: tuple[int, int], two: tuple[int, int]
) -> None:
    early, late = sorted([Release(major + 1, *one), Release(major + 1, *two)])
    for feature in features():
        if feature.lacking((early,)) is None:
            assert feature.lacking((late,)) is None


@pytest.mark.parametrize("text", ["1", "v1.8", "v1.5.9", "v3.0.0", "v1.8.8;v2.0.1", "newest", 1.8, "v1.8.8,"])
def test_the_config_refuses_a_value_that_is_no_release(text: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"machinery_release is .*, expected releases of Machinery from v1\.6\.0"
    ):
        Config(broker="memory://", machinery_release=text)


@pytest.fixture
def app() -> Any:
    with App("memory://releases", "memory://releases", machinery_release="v1.8.8") as app:
        yield app


def test_every_way_of_sending_is_refused(app: App) -> None:
    @app.task
    def keep(n: Uint64) -> Uint64:
        return n

    @app.task
    def total(*ns: Uint64) -> int:
        return sum(ns)

    bad = keep.s(BIG)
    for send in (
        lambda: keep.delay(BIG),
        lambda: keep.apply_async((BIG,), countdown=5),
        lambda: app.send(chain(keep.s(1), keep.si(BIG))),
        lambda: app.send(group(keep.s(1), bad)),
        lambda: app.send(chord([keep.s(1), keep.s(2)], total.s(BIG))),
        lambda: app.publish_many([keep.s(1), bad]),
        lambda: keep.apply_async((1,), on_error=[]) and keep.apply_async((1,), on_success=[keep.si(BIG)]),
        lambda: app.send(Signature(Name="keep", Args=(arg("uint64", BIG),))),
        lambda: app.periodic("@daily", bad, name="daily"),
    ):
        with pytest.raises(LocalProtocolError, match=r"Machinery v1\.8\.8 cannot take unsigned values above"):
            send()
    assert keep.delay(BIG - 1)


def test_results_of_python_tasks_are_refused_too(app: App) -> None:
    @app.task
    def largest() -> Uint64:
        return BIG

    with Worker(app, concurrency=1), pytest.raises(TaskFailed, match="'largest', result 1 as uint64 is 9223"):
        largest.delay().get(timeout=30)


def test_the_doctor_names_tasks_and_faults() -> None:
    with App("amqp://", machinery_release="v1.6.6,v2.0.16") as app:

        @app.task
        def resize(image: bytes) -> int:
            return len(image)

        @app.task(ignore_unregistered=True)
        def ping() -> None: ...

        @app.task
        def add(a: int) -> int:
            return a

        found = list(releases(Case(app)))
    problems = [f"{each.about} {each.text}" for each in found if each.level == "problem"]
    assert [text.rpartition("calls of ")[2] for text in problems] == [
        "resize are refused",
        "ping are refused",
    ]
    assert all(text.startswith("Machinery v1.6.6 cannot take") for text in problems)
    notes = [each.text for each in found if each.about == "Machinery v1.6.6" and each.level == "note"]
    assert any("drops priority" in text for text in notes)
    assert any("rejects a redelivered message" in text for text in notes)
    assert not any("concurrency + 1" in text for text in notes), "this note is for Redis only"
    (newest,) = [each.text for each in found if each.about == "Machinery v2.0.16"]
    assert "retries of a Go worker" in newest
    with App("redis://localhost", machinery_release="v1.10.8,v2.0.13") as app:
        assert [each.about for each in releases(Case(app)) if "concurrency + 1" in each.text] == [
            "Machinery v1.10.8",
            "Machinery v2.0.13",
        ]
