"""Workflows on the wire: the order of the tasks, and the flags that ``si`` sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gearmesh import App, Chord, ChordResult, GroupResult, LocalProtocolError, TaskError, chain, chord, group
from gearmesh.wire.signature import Signature

Sent = Callable[..., list[Signature]]


class Tasks:
    def __init__(self, app: App) -> None:
        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        @app.task
        def nothing() -> None: ...

        @app.task
        def text(*texts: str) -> str:
            return "".join(texts)

        @app.task
        def one(a: int) -> int:
            return a

        @app.task
        def handle(error: str, n: int) -> None: ...

        self.add, self.nothing, self.text, self.one, self.handle = add, nothing, text, one, handle


@pytest.fixture
def t(app: App) -> Tasks:
    return Tasks(app)


def names(sigs: Any) -> list[str]:
    return [sig.Name for sig in sigs or ()]


def test_chain(t: Tasks, sent: Sent) -> None:
    result = chain(t.add.s(1, 2), t.add.s(10), t.one.s().set(queue="q")).apply_async()
    (first,) = sent()
    (second,) = first.OnSuccess or ()
    assert second is not None
    (third,) = second.OnSuccess or ()
    assert third is not None
    assert [task.uuid for task in result.tasks] == [first.UUID, second.UUID, third.UUID]
    assert len({task.uuid for task in result.tasks}) == 3
    # Every signature that crosses names its queue.
    assert [first.RoutingKey, second.RoutingKey, third.RoutingKey] == [
        "machinery_tasks",
        "machinery_tasks",
        "q",
    ]
    assert not any(sig.Immutable for sig in (first, second, third))
    assert [task.uuid for task in result.finals] == [third.UUID]


def test_pipes_and_iterables_are_the_same(t: Tasks, sent: Sent) -> None:
    a, b, c = t.add.s(1), t.add.s(2), t.add.s(3)
    for flow in (a | b | c, chain([a, b, c]), chain(a, b | c), chain(chain(a, b), c), chain(iter([a, b, c]))):
        flow.delay()
    for sig in sent():
        steps = [one for _, one in sig.walk()]
        assert [bytes((one.Args or ())[0].Value) for one in steps] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("flags", "immutable"),
    [
        ("sss", [False, False, False]),
        ("s si s", [True, False, False]),
        ("s s si", [False, True, False]),
        ("s si si", [True, True, False]),
        ("si s s", [False, False, False]),  # nothing is before the first
    ],
)
def test_si_in_a_chain_is_the_step_before(t: Tasks, sent: Sent, flags: str, immutable: list[bool]) -> None:
    kinds = flags.split() if " " in flags else list(flags)
    chain(getattr(t.add, kind)(1) for kind in kinds).delay()
    assert [sig.Immutable for _, sig in sent()[0].walk()] == immutable


def test_immutable_option_is_si(t: Tasks, sent: Sent) -> None:
    chain(t.add.s(1), t.add.s(2).set(immutable=True)).delay()
    assert sent()[0].Immutable


@pytest.mark.parametrize(
    ("body", "immutable"),
    [
        ("s", False),
        ("si", True),
        ("si|si", True),
        ("s|s", False),
        ("si|s", None),
        ("s|si", None),
        ("s|s|si", False),
        ("si|si|s", True),
    ],
)
def test_si_as_chord_body(t: Tasks, sent: Sent, body: str, immutable: bool | None) -> None:
    steps = [getattr(t.add, kind)(1) for kind in body.split("|")]
    flow = chord([t.add.s(1), t.add.s(2)], chain(steps))
    if immutable is None:
        with pytest.raises(TaskError, match="on the wire one flag says both"):
            flow.delay()
        assert sent() == []
        return
    flow.delay()
    for sig in sent():
        assert sig.ChordCallback is not None
        assert sig.ChordCallback.Immutable is immutable
        assert sig.ChordCallback.UUID.startswith("chord_")


def test_children_of_both_kinds(t: Tasks, sent: Sent) -> None:
    with pytest.raises(TaskError, match=r"add.s\(1\) is followed by signatures of both kinds"):
        t.add.s(1).on_success(t.add.s(), t.add.si(1)).delay()
    with pytest.raises(TaskError, match="both kinds"):
        chain(t.add.s(1), group(t.add.s(), t.add.si(1))).delay()
    assert sent() == []
    t.add.s(1).on_success(t.add.si(1), t.add.si(1)).delay()
    assert sent()[0].Immutable


def test_on_error(t: Tasks, sent: Sent) -> None:
    t.add.s(1).on_error(t.handle.s(5), t.handle.si(n=6)).delay()
    (sig,) = sent()
    assert not sig.Immutable
    assert [bytes((one.Args or ())[0].Value) for one in sig.OnError or () if one] == [b"5", b"6"]
    with pytest.raises(TaskError, match="the error's text is a Go string, the parameter a int64"):
        t.add.s(1).on_error(t.one.s()).delay()
    with pytest.raises(TaskError, match="2 arguments"):
        t.add.s(1).on_error(t.one.s(1)).delay()


def test_group(app: App, t: Tasks, sent: Sent) -> None:
    result = group(t.add.s(i) for i in range(3)).apply_async(queue="q", headers={"a": "b"})
    assert isinstance(result, GroupResult)
    sigs = sent("q")
    assert {(sig.GroupUUID, sig.GroupTaskCount, sig.ChordCallback) for sig in sigs} == {
        (result.uuid, 3, None)
    }
    meta = app.backend.read_group(result.uuid)
    assert meta is not None
    assert list(meta.TaskUUIDs) == [sig.UUID for sig in sigs] == [task.uuid for task in result.tasks]
    assert result.states == ["PENDING"] * 3
    assert [state.TaskName for state in app.states(meta.TaskUUIDs) if state] == ["add"] * 3


def test_group_in_a_group(t: Tasks, sent: Sent) -> None:
    result = group(t.add.s(1), group(t.add.s(2), t.add.s(3))).delay()
    assert len(sent()) == len(result.tasks) == 3
    assert {sig.GroupTaskCount for sig in sent()} == {3}


def test_chain_as_a_member_counts_by_its_last_step(app: App, t: Tasks, sent: Sent) -> None:
    result = chord([chain(t.add.s(1), t.add.s(2)), t.add.s(3)], t.add.s()).delay()
    assert isinstance(result, ChordResult)
    first, single = sent()
    last = (first.OnSuccess or ())[0]
    assert last is not None
    assert (first.GroupUUID, first.ChordCallback) == ("", None)
    assert (last.GroupUUID, single.GroupUUID) == (result.uuid, result.uuid)
    assert last.ChordCallback == single.ChordCallback
    meta = app.backend.read_group(result.uuid)
    assert meta is not None
    assert meta.TaskUUIDs == (last.UUID, single.UUID)
    # The state of a step that has not been sent is there, so that the group is known not to be done.
    assert all(app.states(meta.TaskUUIDs))


def test_group_then_task_is_a_chord(t: Tasks, sent: Sent) -> None:
    flow = chain(t.add.s(1), group(t.add.s(2), t.add.s(3)), t.add.s(4), t.add.s(5))
    result = flow.delay()
    (first,) = sent()
    members = first.OnSuccess or ()
    assert len(members) == 2
    callbacks = {member.ChordCallback.UUID for member in members if member and member.ChordCallback}
    assert len(callbacks) == 1
    assert members[0] is not None
    assert members[0].ChordCallback is not None
    assert names(members[0].ChordCallback.OnSuccess) == ["add"]
    assert len(result.finals) == 1
    assert len(result.upstream) == 4
    assert isinstance(group(t.add.s(2)) | t.add.s(), Chord)


def test_group_at_the_end_of_a_chain(app: App, t: Tasks, sent: Sent) -> None:
    result = chain(t.add.s(1), group(t.add.s(2), t.add.s(3))).delay()
    (first,) = sent()
    members = [member for member in first.OnSuccess or () if member]
    meta = app.backend.read_group(members[0].GroupUUID)
    assert meta is not None
    assert (
        list(meta.TaskUUIDs) == [member.UUID for member in members] == [task.uuid for task in result.finals]
    )


def test_chord_forms(t: Tasks) -> None:
    assert isinstance(chord([t.add.s(1)])(t.add.s()), ChordResult), "sent, as in Celery"
    for flow in (chord(group(t.add.s(1)), t.add.s()), chord(t.add.s(1), t.add.s())):
        assert isinstance(flow.delay(), ChordResult)
        assert isinstance(flow(), ChordResult)


def test_chord_in_a_group_counts_by_its_body(app: App, t: Tasks, sent: Sent) -> None:
    result = group(chord([t.add.s(1), t.add.s(2)], t.add.s()), t.add.s(3)).delay()
    assert isinstance(result, GroupResult)
    assert len(sent()) == 3
    meta = app.backend.read_group(result.uuid)
    assert meta is not None
    assert list(meta.TaskUUIDs) == [task.uuid for task in result.finals]
    assert meta.TaskUUIDs[0].startswith("chord_")


def test_canvas_refuses_workflows_that_the_wire_cannot_express(t: Tasks, sent: Sent) -> None:
    pair = group(t.add.s(1), t.add.s(2))
    with pytest.raises(TaskError, match="put a task between them"):
        chain(pair, pair)
    with pytest.raises(TaskError, match="put a task between them"):
        chord(pair, pair)
    with pytest.raises(TaskError, match="put a task between them"):
        chord(pair, chain(chord(pair, t.add.s()), t.add.s()))
    with pytest.raises(TaskError, match="countdown, but another task runs before"):
        chain(t.add.s(1), t.add.s(2).set(countdown=1)).delay()
    for make in (chain, group):
        with pytest.raises(TaskError, match="empty"):
            make()
        with pytest.raises(TaskError, match="empty"):
            make([])
        with pytest.raises(TaskError, match="no signature"):
            make("abc")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="empty"):
        chord([], t.add.s())
    with pytest.raises(TaskError, match="belong to a signature"):
        pair.apply_async(uuid="x")
    assert sent() == []


def test_types_between_steps(t: Tasks, sent: Sent) -> None:
    with pytest.raises(
        TaskError, match=r"'text', argument 1 .*: the result before it is a Go int64, the parameter a"
    ):
        chain(t.add.s(1), t.text.s()).delay()
    with pytest.raises(
        TaskError, match=r"'one' was given 2 arguments \(1 of them results of the step before\)"
    ):
        chain(t.add.s(1), t.one.s(1)).delay()
    with pytest.raises(TaskError, match="no value for 'a'"):
        chain(t.nothing.s(), t.one.s()).delay()
    with pytest.raises(
        TaskError, match=r"3 arguments \(3 of them.*: declare the task with \*args, such as \*numbers"
    ):
        chord([t.add.s(i) for i in range(3)], t.one.s()).delay()
    assert sent() == []
    chain(t.add.s(1), t.text.si("x")).delay()
    assert len(sent()) == 1


def test_options_of_a_workflow(t: Tasks, sent: Sent) -> None:
    chain(t.add.s(1).set(priority=1), t.add.s(2)).apply_async(
        priority=9, queue="q", retry_count=2, countdown=0
    )
    first, second = (sig for _, sig in sent("q")[0].walk())
    assert (first.Priority, second.Priority) == (1, 9)
    assert (first.RetryCount, second.RetryCount) == (2, 2)
    assert first.ETA is not None
    assert second.ETA is None


def test_another_apps_signature(app: App, t: Tasks) -> None:
    with App("memory://other") as other, pytest.raises(TaskError, match="another app"):
        chain(t.add.s(1), Tasks(other).add.s()).delay()


def test_a_chord_needs_a_backend(url: str, sent: Sent) -> None:
    with App(url) as app:
        t = Tasks(app)
        with pytest.raises(TaskError, match="a chord needs a result backend"):
            chord([t.add.s(1)], t.add.s()).delay()
    assert sent() == []


def test_a_chain_of_4000(t: Tasks, sent: Sent) -> None:
    result = chain(t.add.s(i) for i in range(4000)).delay()
    assert len(result.tasks) == 4000
    assert sum(1 for _ in sent()[0].walk()) == 4000


def test_a_chain_that_go_could_not_read(t: Tasks, sent: Sent) -> None:
    with pytest.raises(LocalProtocolError):
        chain(t.add.s(i) for i in range(5000)).delay()
    assert sent() == []
