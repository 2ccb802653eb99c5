"""Outcomes of a run, as the Commit that the runner returns."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from tests.unit.worker.support import without_record

from gearmesh import App, RetryLater, current
from gearmesh.interfaces.commit import ChordCheck, Commit, Member, Settle
from gearmesh.wire.codec import decode
from gearmesh.wire.gotime import parse
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, GroupMeta, TaskResult, TaskState
from gearmesh.wire.types import arg
from gearmesh.worker.job import Job
from gearmesh.worker.runner import Runner

MakeJob = Callable[..., Job]

ONE = arg("int64", 1)
#: "" is a task without a state.
AT_IT = ("RECEIVED", "STARTED", "RETRY")
STATES = ("", PENDING, "RECEIVED", "STARTED", "RETRY", SUCCESS, FAILURE)


class Odd(BaseException):
    """Not even an Exception."""


class Unspeakable(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no text")


@pytest.fixture(autouse=True)
def tasks(app: App) -> None:
    def fails(exc: Callable[[], BaseException]) -> Callable[[], None]:
        def fn() -> None:
            raise exc()

        return fn

    app.task(lambda a, b: a + b, name="add")
    app.task(lambda: None, name="nothing")

    @app.task
    def typed(a: int, b: str) -> str:
        return b * a

    @app.task
    def two() -> tuple[int, str]:
        return 1, "x"

    @app.task
    def whole() -> int:
        return 2**63

    app.task(lambda: math.nan, name="nan")
    app.task(lambda: {"no": "type"}, name="dict")
    app.task(lambda: object(), name="object")
    for name, exc in (
        ("value_error", lambda: ValueError("boom")),
        ("silent", ValueError),
        ("exits", lambda: SystemExit(3)),
        ("odd", lambda: Odd("very")),
        ("later", lambda: RetryLater(2.5)),
        ("connection", lambda: ConnectionError("the task's own")),
        ("unspeakable", Unspeakable),
    ):
        app.task(fails(exc), name=name)

    @app.task
    async def sleeps(a: int) -> int:
        await asyncio.sleep(0.01)
        return a + 1

    @app.task
    async def async_boom() -> None:
        await asyncio.sleep(0)
        raise KeyError("async")

    @app.task
    async def async_exit() -> None:
        await asyncio.sleep(0)
        raise SystemExit(1)

    @app.task
    async def cancelled() -> None:
        raise asyncio.CancelledError

    @app.task
    def who() -> str:
        return current().UUID

    @app.task
    async def async_who() -> str:
        return current().UUID


@pytest.fixture
def runner(app: App) -> Iterator[Runner]:
    runner = Runner(app)
    yield runner
    runner.loop.stop()


def only(commit: Commit, job: Job) -> TaskState:
    """The state of a commit that writes one, sends nothing and acknowledges."""
    assert commit.settle == Settle(job.delivery)
    assert not commit.publishes
    assert commit.trigger is None
    states = commit.states if len(commit.states) == 1 else without_record(commit)
    (state,) = states
    assert state.TaskUUID == job.sig.UUID
    assert (state.State == FAILURE) == (states is not commit.states)
    return state


@pytest.mark.parametrize(
    ("name", "args", "results"),
    [
        ("add", (ONE, arg("int64", 2)), [("int64", "3")]),
        ("nothing", (), []),
        ("two", (), [("int64", "1"), ("string", '"x"')]),
        ("typed", (arg("int64", 2), arg("string", "ab")), [("string", '"abab"')]),
        ("sleeps", (ONE,), [("int64", "2")]),
    ],
)
def test_success(
    name: str, args: tuple[Arg, ...], results: list[tuple[str, str]], runner: Runner, make_job: MakeJob
) -> None:
    job = make_job(name, *args)
    state = only(runner.run(job), job)
    assert state.State == SUCCESS
    assert state.Results is not None
    assert [(each.Type, bytes(each.Value).decode()) for each in state.Results] == results


@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("value_error", (), "boom"),
        ("silent", (), "ValueError()"),
        ("exits", (), "3"),
        ("odd", (), "very"),
        ("connection", (), "the task's own"),
        ("async_boom", (), "'async'"),
        ("async_exit", (), "1"),
        ("cancelled", (), "CancelledError()"),
        ("typed", (ONE,), "reflect: Call with too few input arguments"),
        ("nothing", (ONE,), "reflect: Call with too many input arguments"),
        ("typed", (ONE, ONE), "reflect: Call using int64 as type string"),
    ],
)
def test_an_exception_is_the_failure(
    name: str, args: tuple[Arg, ...], error: str, runner: Runner, make_job: MakeJob
) -> None:
    job = make_job(name, *args)
    state = only(runner.run(job), job)
    assert (state.State, state.Error, state.Results) == (FAILURE, error, None)


@pytest.mark.parametrize(
    ("name", "shown"), [("nan", "nan"), ("dict", "no"), ("object", "object"), ("whole", "int64")]
)
def test_a_result_that_go_has_not_is_a_failure_without_retry(
    name: str, shown: str, runner: Runner, make_job: MakeJob
) -> None:
    job = make_job(name, RetryCount=5)
    state = only(runner.run(job), job)
    assert state.State == FAILURE
    assert name in state.Error
    assert shown in state.Error


def test_an_unreadable_argument_is_a_failure_without_retry(runner: Runner, make_job: MakeJob) -> None:
    job = make_job("typed", Arg("", "int64", msgspec.Raw(b'"x"')), arg("string", "a"), RetryCount=5)
    state = only(runner.run(job), job)
    assert state.State == FAILURE
    assert state.Error.startswith("Reflect task args error: ")


def test_a_call_that_does_not_fit_is_retried(runner: Runner, make_job: MakeJob) -> None:
    commit = runner.run(make_job("typed", ONE, RetryCount=1))
    assert [state.State for state in commit.states] == [PENDING]


def test_a_retry_takes_the_next_fibonacci_number(runner: Runner, make_job: MakeJob) -> None:
    job = make_job("value_error", RetryCount=2, RetryTimeout=3)
    before = time.time_ns()
    commit = runner.run(job)
    after = time.time_ns()
    (state,) = commit.states
    assert (state.TaskUUID, state.State, state.TaskName) == (job.sig.UUID, PENDING, "value_error")
    (publish,) = commit.publishes
    again = decode(publish.body)
    assert (again.UUID, again.RetryCount, again.RetryTimeout) == (job.sig.UUID, 1, 5)
    assert again.ETA is not None
    assert before + 5 * 10**9 <= publish.eta_ns == parse(again.ETA) <= after + 5 * 10**9
    assert commit.settle == Settle(job.delivery)


def test_retry_later_leaves_the_count(runner: Runner, make_job: MakeJob) -> None:
    job = make_job("later", RetryCount=2, RetryTimeout=3)
    before = time.time_ns()
    (publish,) = runner.run(job).publishes
    again = decode(publish.body)
    assert (again.RetryCount, again.RetryTimeout) == (2, 3)
    assert 0 <= publish.eta_ns - before - 2.5e9 < 1e9


def test_a_success_sends_the_signatures_of_on_success(app: App, runner: Runner, make_job: MakeJob) -> None:
    child = Signature(Name="next", Args=(arg("string", "a"),))
    commit = runner.run(make_job("add", ONE, ONE, OnSuccess=(child, child), RetryCount=3))
    assert [state.State for state in commit.states] == [SUCCESS, PENDING, PENDING]
    sent = [decode(publish.body) for publish in commit.publishes]
    assert [publish.queue for publish in commit.publishes] == [app.default_queue] * 2
    assert [state.TaskUUID for state in commit.states[1:]] == [sig.UUID for sig in sent]
    assert sent[0].Args == (arg("string", "a"), arg("int64", 2))


def test_a_failure_sends_the_signatures_of_on_error(runner: Runner, make_job: MakeJob) -> None:
    handler = Signature(UUID="task_handler", Name="on_error", RoutingKey="errors", Args=(ONE,))
    commit = runner.run(make_job("value_error", OnError=(handler,), OnSuccess=(handler,)))
    assert [state.State for state in without_record(commit)] == [FAILURE, PENDING]
    (publish,) = commit.publishes
    assert publish.queue == "errors"
    assert decode(publish.body).Args == (arg("string", "boom"), ONE)


def test_a_member_of_a_chord_is_looked_after(runner: Runner, make_job: MakeJob) -> None:
    job = make_job("nothing", GroupUUID="group_1", GroupTaskCount=7, ChordCallback=Signature(Name="fire"))
    assert runner.run(job).chord == ChordCheck("group_1", 7)
    assert runner.run(make_job("nothing", GroupUUID="group_1", GroupTaskCount=7)).chord is None


def test_a_chord_waits_for_a_member_whose_state_the_server_has_lost(
    app: App, runner: Runner, make_job: MakeJob
) -> None:
    callback = Signature(Name="fire", RoutingKey="machinery_tasks")
    job = make_job("nothing", GroupUUID="group_1", GroupTaskCount=2, ChordCallback=callback)
    other = TaskState(TaskUUID="task_other", State=PENDING)
    app.backend.create_group(GroupMeta(GroupUUID="group_1", TaskUUIDs=(job.sig.UUID, other.TaskUUID)))
    commit = runner.run(job)
    app.backend.write([*commit.states, other])
    settled = runner.fire_chord(job, commit)
    assert (settled.settle, settled.states, settled.chord, settled.trigger) == (commit.settle, (), None, None)
    app.backend.write([msgspec.structs.replace(other, State=SUCCESS, Results=())])
    fired = runner.fire_chord(job, commit)
    assert fired.trigger is not None
    assert [decode(publish.body).Name for publish in fired.trigger.publishes] == ["fire"]


def test_the_current_signature(runner: Runner, make_job: MakeJob) -> None:
    for name in ("who", "async_who"):
        job = make_job(name)
        state = only(runner.run(job), job)
        assert state.Results == (TaskResult("string", msgspec.Raw(f'"{job.sig.UUID}"'.encode())),)


def test_the_loop_survives_the_exceptions_of_coroutines(runner: Runner, make_job: MakeJob) -> None:
    for name in ("async_exit", "cancelled", "async_boom"):
        runner.run(make_job(name))
    job = make_job("sleeps", ONE)
    assert only(runner.run(job), job).State == SUCCESS


def test_coroutines_of_several_threads_run_at_once(app: App, runner: Runner, make_job: MakeJob) -> None:
    both = threading.Barrier(2, timeout=60)

    @app.task
    async def meet() -> None:
        await asyncio.to_thread(both.wait)

    threads = [threading.Thread(target=runner.run, args=(make_job("meet"),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not both.broken


# -- errors outside the task


@pytest.mark.parametrize("name", ["nothing", "value_error"])
def test_a_hook_that_raises_stops_no_thread(
    name: str, app: App, runner: Runner, make_job: MakeJob, caplog: pytest.LogCaptureFixture
) -> None:
    @app.before_publish
    def refuse(sig: Signature) -> None:
        raise PermissionError("not this one")

    after = (Signature(Name="next"),)
    job = make_job(name, OnSuccess=after, OnError=after)
    with caplog.at_level(logging.ERROR):
        commit = runner.run(job)
    assert commit.settle is not None
    assert (commit.settle.how, commit.settle.reason) == ("dead", "PermissionError after the task had run")
    assert [state.State for state in commit.states] == [FAILURE]
    assert "not this one" in caplog.text


def test_an_exception_without_a_text(runner: Runner, make_job: MakeJob) -> None:
    commit = runner.run(make_job("unspeakable"))
    assert [state.State for state in commit.states] == [FAILURE]
    assert commit.settle is not None


# -- redelivered


def test_a_redelivered_task_that_had_succeeded_is_not_run(
    app: App, runner: Runner, make_job: MakeJob
) -> None:
    ran: list[int] = []
    app.task(lambda: ran.append(1), name="once")
    child = Signature(Name="next", RoutingKey="q")
    job = make_job("once", redelivered=1, OnSuccess=(child,))
    result = TaskResult("string", msgspec.Raw(b'"first"'))
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=SUCCESS, Results=(result,))])
    commit = runner.run(job)
    assert not ran
    assert commit.states[0].Results == (result,)
    assert decode(commit.publishes[0].body).Args == (Arg("", "string", msgspec.Raw(b'"first"')),)
    assert commit.settle == Settle(job.delivery)


def test_a_redelivered_task_that_had_failed_is_not_run(app: App, runner: Runner, make_job: MakeJob) -> None:
    ran: list[int] = []
    app.task(lambda: ran.append(1), name="once")
    job = make_job("once", redelivered=1, OnError=(Signature(Name="next", RoutingKey="q"),))
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error="first")])
    commit = runner.run(job)
    assert not ran
    assert commit.states[0].Error == "first"
    assert decode(commit.publishes[0].body).Args == (arg("string", "first"),)


@pytest.mark.parametrize("state", ["", "PENDING", "RECEIVED", "STARTED", "RETRY"])
def test_a_redelivered_task_that_had_not_ended_is_run(
    state: str, app: App, runner: Runner, make_job: MakeJob
) -> None:
    job = make_job("nothing", redelivered=1)
    if state:
        app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=state)])
    assert only(runner.run(job), job).State == SUCCESS


@pytest.mark.parametrize("ended", [True, False])
def test_a_delayed_task_that_rabbitmq_had_twice_is_run_once(
    ended: bool, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """Only the second copy is looked for among the group's members: that costs a look at all of them."""
    ran: list[int] = []
    app.task(lambda: ran.append(1), name="once")
    job = make_job("once", republished=True, GroupUUID="g", GroupTaskCount=2)
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=SUCCESS if ended else PENDING)])
    commit = runner.run(job)
    assert (not ran) is ended
    assert commit.member == Member("g", job.sig.UUID, ended)
    assert commit.again is ended, "the follow-up tasks may have been sent before"


@pytest.mark.parametrize("ended", [SUCCESS, FAILURE])
def test_a_redelivered_task_writes_no_pending_over_a_follow_up_s_state(
    ended: str, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """The follow-up may be running by now. It is sent again, as RabbitMQ may have lost the first copy in a crash."""
    after = {state: Signature(UUID=f"after_{state}", Name="next", RoutingKey="q") for state in STATES}
    job = make_job("nothing", redelivered=1, OnSuccess=tuple(after.values()), OnError=tuple(after.values()))
    app.backend.write([TaskState(TaskUUID=after[state].UUID, State=state) for state in STATES if state])
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=ended)])
    commit = runner.run(job)
    assert [decode(publish.body).UUID for publish in commit.publishes] == [sig.UUID for sig in after.values()]
    assert [state.TaskUUID for state in commit.states] == [job.sig.UUID, "after_"]
    assert commit.again


@pytest.mark.parametrize("state", ["", *AT_IT, PENDING, SUCCESS])
def test_pending_replaces_a_follow_up_s_state_of_an_earlier_run(
    state: str, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """Go sends its periodic chains with the same UUIDs each time."""
    old = Signature(UUID="after", Name="next", RoutingKey="q")
    job = make_job("nothing", redelivered=1, OnSuccess=(old,))
    app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=PENDING)])
    if state:
        app.backend.write([TaskState(TaskUUID="after", State=state)])
    commit = runner.run(job)
    assert commit.fresh is (state == SUCCESS)
    assert [state.TaskUUID for state in commit.states] == [job.sig.UUID, "after"]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("duplicate_attempt", "state", "how"),
    [
        *((turn, state, "tail") for turn in (1, 4) for state in AT_IT),
        *((5, state, "ack") for state in AT_IT),
        *((turn, state, "ack") for turn in (1, 5) for state in ("", PENDING)),
    ],
)
def test_a_possible_duplicate_waits_while_the_task_may_run(
    duplicate_attempt: int, lost: bool, state: str, how: str, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """It waits for a limited time: the state may be its own, or that of a dead worker."""
    ran: list[int] = []
    app.task(lambda: ran.append(1), name="once")
    job = make_job("once", redelivered=1 + lost, duplicate_attempt=duplicate_attempt)
    if state:
        app.backend.write([TaskState(TaskUUID=job.sig.UUID, State=state)])
    commit = runner.run(job)
    assert commit.settle is not None
    assert commit.settle.how == how
    assert ran == ([1] if how == "ack" else [])
    assert how == "ack" or (commit.states, commit.publishes) == ((), ())


@pytest.mark.parametrize(("created", "how"), [("04", "ack"), ("05", "tail"), ("06", "tail")])
def test_a_possible_second_copy_of_a_retry_that_was_tried(
    created: str, how: str, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """A PENDING that is newer than this retry's ETA belongs to a later retry, which may replace this one."""
    job = make_job("nothing", redelivered=1, duplicate_attempt=1, ETA="2026-01-02T03:04:05Z")
    pending = TaskState(TaskUUID=job.sig.UUID, State=PENDING, CreatedAt=f"2026-01-02T03:04:{created}Z")
    app.backend.write([pending])
    commit = runner.run(job)
    assert commit.settle is not None
    assert commit.settle.how == how


@pytest.mark.parametrize(("created", "noted"), [("03:03:04", False), ("03:03:06", True), ("03:04:06", True)])
def test_the_state_of_a_following_task_is_of_this_time(
    created: str, noted: bool, app: App, runner: Runner, make_job: MakeJob
) -> None:
    """Or of last time, if it was PENDING more than a minute before the task itself."""
    job = make_job(
        "nothing", redelivered=1, OnSuccess=(Signature(UUID="after", Name="next", RoutingKey="q"),)
    )
    for uuid, at in ((job.sig.UUID, "03:04:05"), ("after", created)):
        app.backend.write([TaskState(TaskUUID=uuid, State=PENDING, CreatedAt=f"2026-01-02T{at}Z")])
        app.backend.write([TaskState(TaskUUID=uuid, State=SUCCESS, Results=())])
    commit = runner.run(job)
    assert len(commit.publishes) == 1
    assert commit.fresh
    assert [state.TaskUUID for state in commit.states] == [job.sig.UUID] + ["after"] * (not noted)


class Away:
    """A backend that comes back after some tries."""

    connection_errors = (ConnectionError,)
    keeps = True

    def __init__(self, tries: float) -> None:
        self.left = tries

    def read(self, uuids: list[str]) -> list[Any]:
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("away")
        return [None] * len(uuids)


@pytest.mark.parametrize(("tries", "how"), [(2, "ack"), (math.inf, "head")])
def test_a_redelivered_task_while_the_backend_is_away(
    tries: float, how: str, runner: Runner, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner waits a little, then returns the message to the queue, so that the thread goes on."""
    monkeypatch.setattr(runner._prior_outcomes, "_backend", Away(tries))
    settle = runner.run(make_job("nothing", redelivered=1)).settle
    assert settle is not None
    assert settle.how == how
