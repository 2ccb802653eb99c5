"""Waiting: one read for all, growing pauses, exact timeouts, and a thread only while a caller waits."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from gearmesh import App, BackendError, ChordMemberFailed, GroupResult, NoBackend, ResultTimeout, TaskFailed
from gearmesh.backends.memory import MemoryBackend
from gearmesh.interfaces.backend import Wake
from gearmesh.results import poller
from gearmesh.results.async_result import AsyncResult
from gearmesh.results.composite import ChainResult, ChordResult
from gearmesh.results.poller import ResultPoller
from gearmesh.results.wait_handle import MAX_UUIDS_PER_WAITER, WaitHandle, pause_after
from gearmesh.testing.waiting import eventually
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, TaskResult, TaskState


class Counting(MemoryBackend):
    """Counts reads; it can be unreachable, and like Go it can announce no results."""

    connection_errors = (ConnectionError,)

    def __init__(self, *, announces: bool = True) -> None:
        super().__init__(uuid4().hex, expire=3600)
        self.reads: list[int] = []
        self.asked: list[str] = []
        self.away = False
        self._announces = announces

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        if self.away:
            raise ConnectionError("redis://:secret@host refused")
        self.reads.append(len(uuids))
        self.asked.extend(uuids)
        return super().read(uuids)

    def watch(self, wake: Wake) -> Any:
        return super().watch(wake) if self._announces else None


def done(uuid: str, value: int = 1) -> TaskState:
    results = (TaskResult("int64", msgspec.Raw(b"%d" % value)),)
    return TaskState(TaskUUID=uuid, State=SUCCESS, Results=results)


def failed(uuid: str, error: str = "no") -> TaskState:
    return TaskState(TaskUUID=uuid, State=FAILURE, Error=error)


def make_app(backend: Any) -> App:
    app = App("memory://waiting", "memory://waiting")
    app._backend._make = lambda: backend
    return app


@pytest.fixture
def backend() -> Counting:
    return Counting()


@pytest.fixture
def app(backend: Counting) -> Iterator[App]:
    with make_app(backend) as app:
        yield app


@pytest.fixture
def silent() -> Iterator[tuple[App, Counting]]:
    """A backend on which only Go's workers finish tasks: nothing is announced."""
    backend = Counting(announces=False)
    with make_app(backend) as app:
        yield app, backend


def after(seconds: float, do: Callable[[], Any]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()


def test_pauses() -> None:
    assert [pause_after(s) for s in (0, 0.01, 0.05, 0.1, 1, 10, 25, 1000)] == pytest.approx(
        [0.001, 0.001, 0.001, 0.002, 0.02, 0.2, 0.5, 0.5]
    )


def test_get(app: App, backend: Counting) -> None:
    after(0.05, lambda: backend.write([done("a", 7)]))
    assert app.result("a").get(60) == 7


def test_python_commits_wake_at_once(app: App, backend: Counting) -> None:
    result = app.result("a")
    after(0.3, lambda: backend.write([done("a", 7)]))
    began = time.monotonic()
    assert result.get(60, interval=30.0) == 7
    assert time.monotonic() - began < 25


class Hearing(Counting):
    """Is read by the thread that hears; says which thread reads, and when the poller has had its first look."""

    reads_where_it_hears = True

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[str] = []
        self.looked = threading.Event()
        self.late = False

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        self.readers.append(threading.current_thread().name)
        states = super().read(uuids)
        self.looked.set()
        return [None] * len(uuids) if self.late else states


def test_a_few_announced_results_are_read_by_the_thread_that_hears_of_them() -> None:
    backend = Hearing()
    with make_app(backend) as app:
        handle = WaitHandle(["a", "b"], interval=30.0, notify=(over := threading.Event()).set)
        app.result_poller.add(handle)
        assert backend.looked.wait(60)
        eventually(lambda: app.result_poller._announced is False and len(backend.readers) == 1)
        for uuid in ("a", "b", "unknown"):
            backend.write([done(uuid)])
            app.result_poller.wake([uuid], [], [])
        assert over.wait(60)
        assert handle.over
        assert [state.TaskUUID for state in handle.found] == ["a", "b"], "each once"
        assert app.result_poller._announced
        assert not app.result_poller._handles


def test_a_state_that_is_announced_is_not_read() -> None:
    backend = Hearing()
    with make_app(backend) as app:
        handle = WaitHandle(["a", "b"], interval=30.0, notify=(over := threading.Event()).set)
        app.result_poller.add(handle)
        assert backend.looked.wait(60)
        eventually(lambda: len(backend.readers) == 1)
        app.result_poller.wake(["a"], [], [done("a", 7)])
        app.result_poller.wake(["c"], [], [done("c")])
        app.result_poller.wake(["b"], [], [done("b")])
        assert over.wait(60)
        assert handle.over
        assert handle.found == [done("a", 7), done("b")]
        assert len(backend.readers) == 1
        assert app.result_poller._announced


def test_a_task_that_was_sent_just_now_is_heard_of_and_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "FRESH_LOOK_DELAY_S", 60.0)
    monkeypatch.setattr(poller, "THREAD_LINGER_S", 60.0)
    backend = Hearing()
    backend._announces = False  # the test does
    with make_app(backend) as app:

        def trip(uuid: str, *, fresh: bool) -> tuple[bool, int]:
            """True if the first look was at once, and the reads until the end of the task was heard of."""
            backend.reads.clear()
            backend.looked.clear()
            handle = WaitHandle([uuid], interval=30.0, notify=(over := threading.Event()).set)
            app.result_poller.add(handle, fresh=fresh)
            at_once = handle._regular == handle._started
            if at_once:
                assert backend.looked.wait(60)
            backend.write([done(uuid)])
            app.result_poller.wake([uuid], [], [])
            assert over.wait(60)
            return at_once, len(backend.reads)

        assert trip("a", fresh=True) == (True, 2), "no announcement has come yet"
        assert trip("b", fresh=True) == (False, 1)


def test_a_result_is_fresh_for_half_a_millisecond() -> None:
    with make_app(Counting()) as app:
        now = time.time_ns()
        assert not AsyncResult("a", app)._fresh
        assert not AsyncResult("a", app, sent_ns=now - 10**9)._fresh
        assert not AsyncResult("a", app, sent_ns=now + 10**12)._fresh, "the clock was set back"


def test_the_poller_asks_again_if_an_announcement_precedes_its_state() -> None:
    backend = Hearing()
    with make_app(backend) as app:
        handle = WaitHandle(["a"], interval=30.0, notify=(over := threading.Event()).set)
        app.result_poller.add(handle)
        assert backend.looked.wait(60)
        backend.late = True
        app.result_poller.wake(["a"], [], [])
        backend.late = False
        backend.write([done("a")])
        app.result_poller.wake(["a"], [], [])
        assert over.wait(60)
        assert [state.TaskUUID for state in handle.found] == ["a"]


def test_an_unannounced_result_makes_polls_frequent_again() -> None:
    """Results of a Go worker come without an announcement, beside those of Python workers."""
    backend = Hearing()
    backend._announces = False
    with make_app(backend) as app:
        app.result_poller._announced = True
        after(0.05, lambda: backend.write([done("a", 7)]))
        assert app.result("a").get(60) == 7
        assert app.result_poller._announced is False


def test_gos_results_are_found_by_asking(silent: tuple[App, Counting]) -> None:
    app, backend = silent
    after(0.3, lambda: backend.write([done("a", 7)]))
    began = time.monotonic()
    assert app.result("a").get(60) == 7
    # 50 looks in the first 50 ms at most, then about 35 for each doubling.
    assert len(backend.reads) < 70 + 35 * math.log2((time.monotonic() - began) / 0.05)


def test_timeouts_are_exact(silent: tuple[App, Counting]) -> None:
    app, backend = silent
    began = time.monotonic()
    with pytest.raises(ResultTimeout, match=r"task \? \(a\): no final state in 0.2 s") as caught:
        app.result("a").get(0.2, interval=30)
    assert 0.2 <= time.monotonic() - began < 10
    assert isinstance(caught.value, TimeoutError)
    assert len(backend.reads) == 1


def test_timeout_zero_looks_once_here(app: App, backend: Counting) -> None:
    with pytest.raises(ResultTimeout):
        app.result("a").get(0)
    assert backend.reads == [1]
    backend.write([done("a")])
    assert app.result("a").get(0) == 1
    waiter = app._waiter.peek()
    assert waiter is not None
    assert not waiter.running


def test_one_read_for_all(silent: tuple[App, Counting]) -> None:
    app, backend = silent
    uuids = [f"t{i}" for i in range(50)]
    values: list[int] = []
    threads = [
        threading.Thread(target=lambda u=u: values.append(app.result(u).get(60, interval=0.05)))
        for u in uuids
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    backend.write([done(uuid) for uuid in uuids])
    for thread in threads:
        thread.join()
    assert values == [1] * 50
    assert sum(backend.reads) > 3 * len(backend.reads)
    assert sum(thread.name == "gearmesh-waiter" for thread in threading.enumerate()) <= 2


def test_the_thread_ends_when_nobody_waits(
    app: App, backend: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "THREAD_LINGER_S", 0.05)
    backend.write([done("a")])
    assert app.result("a").get(60) == 1
    waiter = app._waiter.peek()
    assert waiter is not None
    deadline = time.monotonic() + 60
    while waiter.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not waiter.running
    assert waiter._index == {}
    backend.write([done("b")])
    assert app.result("b").get(60) == 1  # and begins anew


def test_a_backend_that_is_away(app: App, backend: Counting) -> None:
    backend.away = True
    with pytest.raises(
        ResultTimeout, match=r"memory://waiting cannot be reached: redis://\*\*\*@host"
    ) as caught:
        app.result("a").get(0.2)
    assert "secret" not in str(caught.value)
    with pytest.raises(BackendError, match="cannot be reached: redis://") as state:
        _ = app.result("a").state
    assert "secret" not in str(state.value)
    backend.write([done("a")])
    after(0.2, lambda: setattr(backend, "away", False))
    assert app.result("a").get(60) == 1


def test_one_state_that_cannot_be_read_disturbs_only_its_waiter(backend: Counting) -> None:
    class Spoilt(Counting):
        def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
            if "bad" in uuids:
                raise BackendError("bad: the stored value is no TaskState")
            return super().read(uuids)

    spoilt = Spoilt()
    with make_app(spoilt) as app:
        good: list[int] = []
        thread = threading.Thread(target=lambda: good.append(app.result("a").get(60)))
        thread.start()
        with pytest.raises(BackendError, match="no TaskState"):
            app.result("bad").get(60)
        spoilt.write([done("a")])
        thread.join()
        assert good == [1]


def test_null_backend() -> None:
    with App("memory://waiting") as app:
        result = app.result("a")
        for ask in (
            result.get,
            result.ready,
            result.wait,
            lambda: result.state,
            lambda: list(GroupResult("g", [result], app)),
        ):
            with pytest.raises(NoBackend, match="keeps no results"):
                ask()


def members(app: App, count: int) -> list[AsyncResult[Any]]:
    return [app.result(f"m{i}") for i in range(count)]


def test_group(app: App, backend: Counting) -> None:
    group = GroupResult("g", members(app, 3), app)
    assert group.states == ["PENDING"] * 3
    backend.write([done("m1", 1), TaskState(TaskUUID="m0", State=STARTED)])
    assert group.states == ["STARTED", "SUCCESS", "PENDING"]
    assert (group.completed_count, group.state, group.ready()) == (1, "STARTED", False)
    with pytest.raises(ResultTimeout, match="and 1 more of 3"):
        group.get(0.05)
    backend.write([done("m0", 0), done("m2", 2)])
    assert group.get(60) == [0, 1, 2]
    assert group.successful()


@pytest.mark.parametrize("announces", [True, False])
def test_a_group_of_ten_thousand(announces: bool) -> None:
    backend = Counting(announces=announces)
    with make_app(backend) as app:
        group = GroupResult("g", members(app, 10_000), app)
        after(0.2, lambda: backend.write([done(f"m{i}", i) for i in range(10_000)]))
        assert group.get(20) == list(range(10_000))
        assert max(backend.reads) <= 1000
        assert sum(backend.reads) < 150_000


@pytest.mark.parametrize("announces", [True, False])
def test_a_failed_member_ends_the_wait(announces: bool) -> None:
    backend = Counting(announces=announces)
    with make_app(backend) as app:
        header = GroupResult("g", members(app, 3000), app)
        for member in header.tasks:
            member._in_chord = True
        chord = ChordResult(header, app.result("body"), app)
        after(0.1, lambda: backend.write([failed("m2990")]))
        began = time.monotonic()
        with pytest.raises(ChordMemberFailed, match="no") as caught:
            chord.get(60, interval=30.0 if announces else None)
        assert caught.value.uuid == "m2990"
        assert time.monotonic() - began < 25
        assert chord.failed()


def test_one_look_at_many_members_is_at_all_of_them(silent: tuple[App, Counting]) -> None:
    app, backend = silent
    header = GroupResult("g", members(app, 3000), app)
    backend.write([failed("m2990")])
    chord = ChordResult(header, app.result("body"), app)
    began = time.monotonic()
    with pytest.raises(TaskFailed, match="m2990"):
        chord.get(60, interval=50.0)
    assert time.monotonic() - began < 45


def test_members_that_have_succeeded_are_not_read(app: App, backend: Counting) -> None:
    header = GroupResult("g", members(app, 300), app)
    chord = ChordResult(header, app.result("body"), app)

    def finish() -> None:
        eventually(lambda: backend.reads)  # the first look is at all of them
        backend.asked.clear()
        app.result_poller.wake([task.uuid for task in header.tasks], [], [])
        backend.write([done("body", 9)])

    after(0, finish)
    assert chord.get(60, interval=30.0) == 9
    assert set(backend.asked) == {"body"}


def test_the_error_of_a_timeout_counts_no_member_that_has_been_heard_of(app: App, backend: Counting) -> None:
    header = GroupResult("g", members(app, 300), app)
    chord = ChordResult(header, app.result("body"), app)

    def hear() -> None:
        eventually(lambda: backend.reads)
        app.result_poller.wake([task.uuid for task in header.tasks[:298]], [], [])

    after(0, hear)
    with pytest.raises(ResultTimeout, match=r"\(m298\) and 2 more of 301"):
        chord.get(1, interval=30.0)


def test_the_success_of_a_member_is_no_news_to_a_caller_of_the_chord() -> None:
    handle = WaitHandle(["body"], ["a", "b", "c"], notify=lambda: None)
    assert not handle.take([done("a"), None, done("b")])
    assert handle.uuids() == ["body", "c"]
    assert [state.TaskUUID for state in handle.found] == ["a", "b"], "read once"
    assert handle.take([failed("c")])
    assert handle.over


def test_looks_at_many_states_take_a_small_part_of_the_time_while_ends_are_announced(app: App) -> None:
    handle = WaitHandle(["body"], notify=lambda: None)
    looker = app.result_poller
    looker._look_s, looker._announced = 0.004, True
    assert looker._next_pause(handle, 0.0) == pytest.approx(0.08)
    looker._look_s = 60.0
    assert looker._next_pause(handle, 0.0) == 0.5, "a result without an announcement is found soon"
    looker._announced = False
    assert looker._next_pause(handle, 0.0) == pytest.approx(0.001)


def test_a_body_that_ran_counts_more_than_a_failed_member(app: App, backend: Counting) -> None:
    chord = ChordResult(GroupResult("g", members(app, 1), app), app.result("body"), app)
    backend.write([failed("m0"), done("body", 9)])
    assert chord.get(60) == 9


def test_a_chain_ends_where_it_breaks(app: App, backend: Counting) -> None:
    chain = ChainResult(members(app, 3), app)
    backend.write([done("m0"), failed("m1", "broke")])
    with pytest.raises(TaskFailed, match="broke"):
        chain.get(60)
    assert chain.wait(0) == "FAILURE"
    assert chain.error == "broke"


def test_in_order_of_completion(app: App, backend: Counting) -> None:
    group = GroupResult("g", members(app, 4), app)
    order = ["m2", "m0", "m3", "m1"]
    coming = iter([failed(uuid) if uuid == "m3" else done(uuid) for uuid in order])

    def complete_next() -> None:
        if state := next(coming, None):
            after(0.1, lambda: backend.write([state]))

    complete_next()
    seen = []
    for result in group:
        seen.append(result.tasks[0].uuid)
        complete_next()
    assert seen == order
    assert [result.tasks[0].uuid for result in group.as_completed(0)] == ["m0", "m1", "m2", "m3"]
    late = GroupResult("h", [app.result("m0"), app.result("never")], app)
    completion = iter(late.as_completed(0.1))
    assert next(completion).get(0) == 1
    with pytest.raises(ResultTimeout):
        next(completion)


async def test_asyncio(app: App, backend: Counting) -> None:
    after(0.1, lambda: backend.write([done(f"m{i}", i) for i in range(3)]))
    group = GroupResult("g", members(app, 3), app)
    assert await group.aget(60) == [0, 1, 2]
    assert await app.result("m1") == 1
    assert await app.result("m1").await_(60) == "SUCCESS"
    assert sorted([await result.aget(60) async for result in GroupResult("g", members(app, 3), app)]) == [
        0,
        1,
        2,
    ]
    assert await asyncio.gather(*(app.result(f"m{i % 3}").aget(60) for i in range(300))) == [0, 1, 2] * 100
    began = time.monotonic()
    with pytest.raises(ResultTimeout):
        await app.result("never").aget(0.1)
    assert 0.1 <= time.monotonic() - began < 20
    with pytest.raises(ResultTimeout):
        await app.result("never").aget(0)
    walk = aiter(GroupResult("g", [app.result("never")], app).as_completed(0.1))
    with pytest.raises(ResultTimeout):
        await anext(walk)


async def test_a_cancelled_waiter_leaves_nothing_behind(app: App) -> None:
    waiting_task = asyncio.create_task(app.result("never").aget())
    await asyncio.sleep(0.05)
    waiting_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting_task
    waiter = app._waiter.get()
    assert waiter._handles == set()
    assert waiter._index == {}


def test_a_notify_that_raises_does_not_end_the_thread(backend: Counting) -> None:
    waiter = ResultPoller(backend)

    def broken() -> None:
        raise RuntimeError("the loop is closed")

    backend.write([done("a"), done("b")])
    waiter.add(WaitHandle(["a"], notify=broken))
    heard = threading.Event()
    waiter.add(WaitHandle(["b"], notify=heard.set))
    assert heard.wait(60)
    waiter.close()


def test_an_announcement_of_a_known_result_causes_no_read(app: App, backend: Counting) -> None:
    backend.write([done("a")])
    handle = WaitHandle(["a", "b"], notify=lambda: None)
    app.result_poller.add(handle)
    eventually(lambda: [state.TaskUUID for state in handle.found] == ["a"])
    app.result_poller.wake(["a"], [], [])
    assert not handle._hot
    app.result_poller.remove(handle)
    assert not app.result_poller._index


def test_window_of_many() -> None:
    watch = WaitHandle([f"w{i}" for i in range(2000)], notify=lambda: None)
    seen: set[str] = set()
    for _ in range(8):
        window = watch.window(0.0)
        assert len(window) <= MAX_UUIDS_PER_WAITER
        assert window[:3] == ["w0", "w1", "w2"]  # the results that are needed first always come first
        seen.update(window)
    assert len(seen) == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork(app: App, backend: Counting) -> None:
    backend.write([done("a")])
    assert app.result("a").get(60) == 1
    waiter = app._waiter.get()
    with waiter._changed:  # as if another thread held it at the fork
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                app._backend._make = lambda: backend
                code = 0 if app.result("a").get(60) == 1 and app._waiter.get() is not waiter else 2
            finally:
                os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("timeout", [1.5, None])
@pytest.mark.parametrize("how", ["get", "aget"])
def test_waiting_for_a_task_that_no_worker_takes_is_logged_once(
    app: App,
    backend: Counting,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    timeout: float | None,
) -> None:
    monkeypatch.setattr("gearmesh.results.async_result.PENDING_WARNING_S", 0.1)
    waiting, started = app.result("task_waits", "pack"), app.result("task_started", "pack")
    backend.write([TaskState(TaskUUID=started.uuid, State=STARTED)])
    end = threading.Timer(
        0.4 if timeout is None else 60, backend.write, [[done(waiting.uuid), done(started.uuid)]]
    )
    end.start()
    for result in (waiting, started):
        try:
            result.get(timeout) if how == "get" else asyncio.run(result.aget(timeout))
        except ResultTimeout:
            assert timeout is not None
    end.cancel()
    (message,) = caplog.messages
    assert message.startswith("task pack (task_waits) is PENDING after 100 ms: no worker has begun it.")
