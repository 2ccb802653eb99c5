"""The parts of the dashboard that ask no server: caching, walking, drawing, reading forms."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.web.conftest import make_app
from tests.web.seed import uuid_of

from gearmesh import App
from gearmesh.inspection.message_search import messages_from
from gearmesh.web.broker_reader import BrokerReader
from gearmesh.web.cache import AnswerCache
from gearmesh.web.forms import Fields
from gearmesh.web.pages.paging import PAGE_ROWS, paging
from gearmesh.web.state_reader import StateReader
from gearmesh.web.state_walk import MAX_COUNTED, MAX_FAILED, StateSummary, StateWalk, reason_of
from gearmesh.web.workflow import MAX_BOXES, draw
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, SUCCESS, GroupMeta, TaskState


@pytest.fixture
def app() -> Iterator[App]:
    with make_app(f"memory://{uuid4().hex}") as app:
        yield app


def test_an_answer_is_asked_for_once_a_second_however_many_ask() -> None:
    now = [0.0]
    cache = AnswerCache(lambda: now[0])
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    threads = [threading.Thread(target=cache.get, args=("key", ask)) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (cache.get("key", ask), len(asked)) == (1, 1)
    now[0] = 1.0
    assert cache.get("key", ask) == 2
    cache.clear()
    assert cache.get("key", ask) == 3


def test_an_error_is_an_answer_too() -> None:
    now = [0.0]
    cache = AnswerCache(lambda: now[0])
    asked: list[int] = []

    def fail() -> int:
        asked.append(1)
        raise ValueError(len(asked))

    for _ in range(3):
        with pytest.raises(ValueError, match="1"):
            cache.get("key", fail)
    now[0] = 2.0
    with pytest.raises(ValueError, match="2"):
        cache.get("key", fail)


def test_the_cache_keeps_no_more_than_the_last_second() -> None:
    now = [0.0]
    cache = AnswerCache(lambda: now[0])
    for number in range(5000):
        now[0] += 0.01
        cache.get(number, lambda: b"x" * 100)
    assert len(cache._answers) <= 101


def test_the_dashboard_ends_while_a_question_waits_for_its_broker(app: App) -> None:
    reader = BrokerReader(app)
    asked, answer = threading.Event(), threading.Event()

    def wait(channel: Any) -> bool:
        asked.set()
        return answer.wait()

    asking = threading.Thread(target=reader.ask, args=("key", wait))
    asking.start()
    assert asked.wait(60)
    closing = threading.Thread(target=reader.close)
    closing.start()
    closing.join(60)
    ended = not closing.is_alive()
    answer.set()
    for thread in (asking, closing):
        thread.join()
    assert ended
    reader.close()


def test_a_summary_is_bounded() -> None:
    summary = StateSummary()
    for number in range(5000):
        summary.add(
            [
                TaskState(
                    TaskUUID=f"t{number}", TaskName=f"name{number}", State=FAILURE, Error=f"e {number}" * 9
                )
            ]
        )
        summary.add([GroupMeta(GroupUUID=f"g{number}", TaskUUIDs=("a",) * 100)])
    assert summary.states[FAILURE] == 5000
    assert len(summary.names) <= MAX_COUNTED + 1
    assert len(summary.reasons) <= MAX_COUNTED + 1
    assert sum(summary.names.values()) == sum(summary.reasons.values()) == 5000
    assert len(summary.latest_failed()) == MAX_FAILED
    assert len(summary.latest_groups()) == 200


def test_a_walk_goes_on_with_each_look_and_begins_again(app: App) -> None:
    now = [0.0]
    app.backend.write([TaskState(TaskUUID=uuid_of(each), State=SUCCESS) for each in range(1200)])
    reader = StateReader(app)
    walk = StateWalk(reader, lambda: now[0])

    def look() -> StateSummary:
        reader.clear()
        now[0] += 1.0
        return walk.look()

    assert (look().seen, walk.complete) == (1200, True)
    app.backend.write([TaskState(TaskUUID=uuid_of(5000), State=FAILURE, Error="late")])
    assert look().seen == 1200
    now[0] += 20
    assert look().seen == 1201
    assert [each.error for each in walk.look().latest_failed()] == ["late"]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("no stock for item 17", "no stock for item 9"),
        ("at 0x7f00aa is\nmore", "at 0x12 is\nother"),
        ("task 123e4567-e89b-42d3-a456-426614174000 lost", "task 00000000-0000-4000-8000-000000000000 lost"),
    ],
)
def test_failures_of_one_kind_have_one_reason(one: str, two: str) -> None:
    assert reason_of(one) == reason_of(two)
    assert reason_of("") == ""
    assert len(reason_of("x" * 10_000)) == 120


@given(st.integers(0, 3000), st.integers(0, 200), st.integers(1, 3000), st.integers(0, 300_000))
def test_slices_give_every_message_once(total: int, start: int, most: int, size: int) -> None:
    messages = [b"x" * (size if number % 100 == 0 else 10) for number in range(0, min(total, 50))] * (
        total // 50
    )
    read: list[tuple[int, int]] = []

    def page(at: int, count: int) -> list[bytes]:
        read.append((at, count))
        return messages[at : at + count]

    found = list(messages_from(page, start, most))
    assert [at for at, _ in found] == list(range(start, min(len(messages), start + most)))
    assert all(count <= 1000 for _, count in read)


def test_a_workflow_is_drawn_as_far_as_it_fits() -> None:
    chain = Signature(UUID="end", Name="end")
    for number in range(200):
        chain = Signature(UUID=f"s{number}", Name=f"step {number}", OnSuccess=(chain,))
    drawing = draw(chain, {})
    assert len(drawing.boxes) == MAX_BOXES
    assert drawing.left_out == 201 - MAX_BOXES
    assert len(drawing.lines) == MAX_BOXES - 1
    boxes = {(box.x, box.y) for box in drawing.boxes}
    assert len(boxes) == len(drawing.boxes)
    assert all(box.x + 170 <= drawing.width and box.y + 46 <= drawing.height for box in drawing.boxes)


def test_a_group_s_members_and_a_chord_are_drawn() -> None:
    sig = Signature(UUID="m0", Name="count", GroupUUID="g", ChordCallback=Signature(UUID="cb", Name="sum"))
    group = GroupMeta(GroupUUID="g", TaskUUIDs=tuple(f"m{each}" for each in range(30)))
    states: dict[str, Any] = {"m1": TaskState(TaskUUID="m1", TaskName="count", State=SUCCESS)}
    drawing = draw(sig, states, group)
    assert [box.label for box in drawing.boxes if box.uuid == "m1"] == ["count"]
    assert [line.kind for line in drawing.lines] == ["chord"]
    assert [box.label for box in drawing.boxes if not box.uuid] == ["22 more members"]
    assert [box.uuid for box in drawing.boxes if box.own] == ["m0"]


def test_fields_of_forms() -> None:
    fields = Fields.parse(b"a=1&a=2&b=+x+&n=12&long=" + b"y" * 5000 + b"&bad=%ff&neg=-1")
    assert (fields.text("a"), fields.all("a"), fields.text("b"), fields.exact("b")) == (
        "1",
        ["1", "2"],
        "x",
        " x ",
    )
    assert (fields.number("n"), fields.number("neg", 7), fields.number("none", 3)) == (12, 7, 3)
    assert fields.number("n", most=5) == 5
    assert len(fields.text("long")) == 2000
    assert fields.text("missing") == ""
    with pytest.raises(ValueError, match="fields"):
        Fields.parse(b"&".join([b"a=1"] * 6000))


@pytest.mark.parametrize(
    ("start", "shown", "total", "before", "after"),
    [
        (0, 50, 120, None, 50),
        (50, 50, 120, 0, 100),
        (100, 20, 120, 50, None),
        (0, 0, 0, None, None),
        (0, 50, None, None, 50),
        (0, 3, None, None, None),
    ],
)
def test_pages(start: int, shown: int, total: int | None, before: int | None, after: int | None) -> None:
    place = paging(Fields([("start", str(start))]), shown, total)
    assert (place.before, place.after) == (before, after)
    assert PAGE_ROWS == 50
