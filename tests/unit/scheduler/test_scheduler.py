"""Schedulers in simulated time: the one that sends, the runs that it keeps for later, and its log lines."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from gearmesh import App, Config, chain, chord, group
from gearmesh.app.periodic import CatchUp
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.interfaces.lock import Claim
from gearmesh.locks.memory import MemoryLock
from gearmesh.scheduler import Scheduler, SystemClock
from gearmesh.scheduler.clock import Waker
from gearmesh.testing.clocks import SimulatedTime
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature

Start = Callable[..., Scheduler]


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime("2024-03-01T12:00:00Z")


@pytest.fixture
def url() -> str:
    return f"memory://{uuid4().hex}"


@pytest.fixture
def app(url: str) -> Iterator[App]:
    with App(url, url) as app:
        yield app


@pytest.fixture
def names(url: str) -> Iterator[Callable[[], list[str]]]:
    """The names of the tasks that were sent since the last call."""
    connection = open_connection(url)
    channel = connection.channel()
    seen = 0

    def new() -> list[str]:
        nonlocal seen
        found = [decode(body).Name for body in channel.pending("machinery_tasks", 100_000)]
        seen, before = len(found), seen
        return found[before:]

    yield new
    connection.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts schedulers, which end with the test."""
    with ExitStack() as stack:
        yield lambda app, **options: stack.enter_context(Scheduler(app, **options))


@pytest.fixture
def lock(time: SimulatedTime) -> Lock:
    return Lock(time)


class Lock(MemoryLock):
    """A lock whose server can be unreachable."""

    connection_errors = (ConnectionError,)

    def __init__(self, time: SimulatedTime) -> None:
        super().__init__(uuid4().hex, time.seconds)
        self.away = False
        self.asked = 0

    def take(self, claim: Claim) -> bool:
        self.asked += 1
        if self.away:
            raise ConnectionError("nobody there")
        return super().take(claim)

    def begin(self, key: str, at_ns: int, keep: float) -> int:
        if self.away:
            raise ConnectionError("nobody there")
        return super().begin(key, at_ns, keep)


def test_a_day(app: App, time: SimulatedTime, start: Start, names: Callable[[], list[str]]) -> None:
    app.periodic("0 * * * *", app.remote("hourly").s(), tz="UTC")
    app.periodic("@every 6h", app.remote("every").s())
    app.periodic("30 6 * * *", app.remote("early").s(), tz="UTC")
    app.periodic("0 0 31 2 *", app.remote("never").s(), tz="UTC")
    scheduler = start(app, clock=time.clock())
    time.advance(86_400, scheduler)
    assert Counter(names()) == {"hourly": 24, "every": 4, "early": 1}


def test_it_sleeps_in_between(app: App, time: SimulatedTime, start: Start) -> None:
    app.periodic("0 * * * *", app.remote("hourly").s(), tz="UTC")
    scheduler = start(app, clock=time.clock())
    time.advance(3 * 3600, scheduler)
    assert time.wakes == 3 * 60  # each minute it checks whether the clock was set


def test_workflows(app: App, time: SimulatedTime, start: Start, names: Callable[[], list[str]]) -> None:
    one, two = app.remote("one"), app.remote("two")
    app.periodic("* * * * *", chain(one.s(), two.s()), name="chain", tz="UTC")
    app.periodic("* * * * *", group(one.s(), one.s()), name="group", tz="UTC")
    app.periodic("* * * * *", chord([one.s(), one.s()], two.s()), name="chord", tz="UTC")
    app.periodic("* * * * *", Signature(UUID="task_fixed", Name="wire"), tz="UTC")
    scheduler = start(app, clock=time.clock())
    time.advance(60, scheduler)
    assert Counter(names()) == {"one": 5, "wire": 1}


def test_several_with_one_lock(
    url: str, time: SimulatedTime, start: Start, names: Callable[[], list[str]]
) -> None:
    shared = uuid4().hex
    locks = [MemoryLock(shared, time.seconds) for _ in range(3)]
    apps = [App(url, url) for _ in locks]
    for app in apps:
        app.periodic("* * * * *", app.remote("x").s(), name="x", tz="UTC")
    schedulers = [
        start(app, clock=time.clock(skew), lock=lock)
        for app, lock, skew in zip(apps, locks, (0.0, 1.5, -20.0), strict=True)
    ]
    time.advance(600, *schedulers)
    assert len(names()) in (10, 11)


def test_without_a_lock_each_fires(
    url: str, time: SimulatedTime, start: Start, names: Callable[[], list[str]]
) -> None:
    schedulers = []
    for _ in range(2):
        app = App(url, url)
        app.periodic("* * * * *", app.remote("x").s(), tz="UTC")
        schedulers.append(start(app, clock=time.clock()))
    time.advance(120, *schedulers)
    assert len(names()) == 4


def test_entries_that_come_later(
    app: App, time: SimulatedTime, start: Start, names: Callable[[], list[str]]
) -> None:
    scheduler = start(app, clock=time.clock())
    time.advance(30, scheduler)
    app.periodic("* * * * *", app.remote("late").s(), tz="UTC")
    eventually(lambda: "late" in scheduler._timetable._lines)
    time.advance(30, scheduler)
    assert names() == ["late"]


def test_one_that_fails_does_not_stop_the_others(
    app: App,
    time: SimulatedTime,
    start: Start,
    names: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.periodic("* * * * *", app.remote("bad").s(), tz="UTC")
    app.periodic("* * * * *", app.remote("good").s(), tz="UTC")

    def hook(sig: Signature) -> None:
        if sig.Name == "bad":
            raise RuntimeError("no, not this one")

    app.before_publish(hook)
    scheduler = start(app, clock=time.clock())
    time.advance(180, scheduler)
    assert names() == ["good"] * 3
    lost = [record for record in caplog.records if "not sent" in record.message]
    assert [vars(record)["due"][11:16] for record in lost] == ["12:01", "12:02", "12:03"]
    assert {vars(record)["periodic"] for record in lost} == {"bad"}
    assert "no, not this one" in lost[0].message


def test_a_lock_that_is_away_and_comes_back(
    app: App, time: SimulatedTime, start: Start, lock: Lock, names: Callable[[], list[str]]
) -> None:
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    scheduler = start(app, clock=time.clock(), lock=lock)
    time.advance(3599, scheduler)
    lock.away = True
    waiting = time.steady
    # The scheduler retries due runs, in real time.
    with pytest.raises(AssertionError, match="have not sent all due tasks"):
        _impatient(time, scheduler)
    assert time.steady == waiting + 10**9
    assert lock.asked >= 2
    lock.away = False
    time.settle(scheduler)
    assert names() == ["x"]
    time.advance(3600, scheduler)
    assert names() == ["x"]


def _impatient(time: SimulatedTime, scheduler: Scheduler) -> None:
    """Advance to the next moment with a short time limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gearmesh.testing.clocks.REST_TIMEOUT_S", 0.5)
        time.advance(2, scheduler)


def test_a_lock_that_is_away_for_too_long(
    app: App,
    time: SimulatedTime,
    start: Start,
    lock: Lock,
    names: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.periodic("* * * * *", app.remote("x").s(), tz="UTC")
    scheduler = start(app, clock=time.clock(), lock=lock)
    lock.away = True
    with pytest.raises(AssertionError, match="have not sent all due tasks"):
        _impatient_until(time, scheduler, 60)
    time.steady += 60 * 10**9  # it is due again
    lock.away = False
    time.settle(scheduler)
    time.advance(60, scheduler)
    (lost,) = [record for record in caplog.records if "not sent" in record.message]
    assert "nobody there" in lost.message
    assert datetime.fromisoformat(vars(lost)["due"]) == datetime(2024, 3, 1, 12, 1, tzinfo=timezone.utc)
    assert len(names()) == 2


def _impatient_until(time: SimulatedTime, scheduler: Scheduler, seconds: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gearmesh.testing.clocks.REST_TIMEOUT_S", 0.5)
        time.advance(seconds, scheduler)


@pytest.mark.parametrize(
    ("catch_up", "count"), [(None, 0), (2, 2), (100, 5), (timedelta(hours=1), 1), (timedelta(days=1), 5)]
)
def test_catch_up_fires_times_missed_while_no_scheduler_ran(
    url: str,
    time: SimulatedTime,
    lock: Lock,
    names: Callable[[], list[str]],
    catch_up: CatchUp,
    count: int,
) -> None:
    def app() -> App:
        app = App(url, url)
        app.periodic("0 * * * *", app.remote("x").s(), tz="UTC", catch_up=catch_up)
        return app

    with Scheduler(app(), clock=time.clock(), lock=lock) as scheduler:
        _known(scheduler)
        time.advance(3600, scheduler)
    assert names() == ["x"]
    time.advance(5 * 3600 + 60)
    # Two come back at the same time.
    with (
        Scheduler(app(), clock=time.clock(), lock=lock) as one,
        Scheduler(app(), clock=time.clock(), lock=lock) as two,
    ):
        _known(one)
        _known(two)
        time.advance(1, one, two)
        assert len(names()) == count
        time.advance(3600, one, two)
        assert names() == ["x"]


def _known(scheduler: Scheduler) -> None:
    """Wait until it has begun with its entries."""
    eventually(lambda: len(scheduler._timetable._lines) == len(scheduler.app.periodics.entries))


def test_times_before_the_first_start_of_a_scheduler_are_not_missed(
    app: App, time: SimulatedTime, start: Start, lock: Lock, names: Callable[[], list[str]]
) -> None:
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC", catch_up=timedelta(days=1))
    scheduler = start(app, clock=time.clock(), lock=lock)
    _known(scheduler)
    time.advance(1800, scheduler)
    assert names() == []


def test_a_lock_that_is_away_at_the_start(
    app: App, time: SimulatedTime, start: Start, lock: Lock, names: Callable[[], list[str]]
) -> None:
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC", catch_up=1)
    lock.away = True
    scheduler = start(app, clock=time.clock(), lock=lock)
    assert scheduler._timetable._lines == {}
    lock.away = False
    _known(scheduler)
    time.advance(3600, scheduler)
    assert names() == ["x"]


def test_a_clock_set_forward_and_back(
    app: App, time: SimulatedTime, start: Start, lock: Lock, names: Callable[[], list[str]]
) -> None:
    app.periodic("*/10 * * * *", app.remote("x").s(), tz="UTC")
    clock = time.clock()
    scheduler = start(app, clock=clock, lock=lock)
    time.advance(60, scheduler)
    clock.step(30 * 60)
    time.advance(60, scheduler)  # 12:32: 12:10, 12:20 and 12:30 are due
    assert names() == ["x"] * 3
    clock.step(-3600)
    time.advance(600, scheduler)  # 11:42: the clock goes on, and so do the tasks
    assert names() == ["x"]


def test_a_run_is_sent_once_when_the_clock_is_set_back_over_it(
    app: App, time: SimulatedTime, start: Start, lock: Lock, names: Callable[[], list[str]]
) -> None:
    """The run is due a second time by the clock of the scheduler that has already sent it."""
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    clock = time.clock()
    scheduler = start(app, clock=clock, lock=lock)
    time.advance(3600 + 60, scheduler)
    clock.step(-600)
    time.advance(1200, scheduler)
    assert names() == ["x"]
    time.advance(3600, scheduler)
    assert names() == ["x"]


def test_catching_up_needs_a_lock_that_remembers(app: App) -> None:
    app.periodic("0 * * * *", app.remote("x").s(), catch_up=1)
    with pytest.raises(
        ConfigError, match="there is no lock to remember the runs that were sent; expected a setting lock"
    ):
        Scheduler(app)


def test_catching_up_beside_go(url: str) -> None:
    app = App(config=Config(broker=url, lock="redis://localhost:6379", lock_executable="shop"))
    app.periodic("0 * * * *", app.remote("x").s(), catch_up=1)
    with pytest.raises(ConfigError, match="leave no trace of the runs that they have sent"):
        Scheduler(app)


def test_a_lock_that_go_cannot_share(url: str) -> None:
    with pytest.raises(ConfigError, match="'shop'"):
        Scheduler(App(config=Config(broker=url, lock="redis://localhost:6379/1", lock_executable="shop")))


def test_stopping(app: App) -> None:
    never_started = Scheduler(app)
    assert never_started.stop() is True
    assert never_started.stop() is True
    app.periodic("@every 1h", app.remote("x").s())
    with Scheduler(app) as scheduler:
        pass
    assert scheduler.stop() is True
    scheduler.end()
    for begin in (scheduler.start, never_started.run):
        with pytest.raises(GearmeshError, match="can be started once"):
            begin()


def test_stopping_another_threads(app: App) -> None:
    scheduler = Scheduler(app)
    runner = threading.Thread(target=scheduler.run)
    runner.start()
    assert scheduler.stop() is True
    runner.join(20)
    assert not runner.is_alive()


def test_apps_with_other_queues_have_locks_of_their_own(
    url: str, time: SimulatedTime, start: Start, lock: Lock
) -> None:
    apps = [App(url, default_queue=queue) for queue in ("a", "b")]
    for app in apps:
        app.periodic("* * * * *", app.remote("x").s(), tz="UTC")
    time.advance(60, *(start(app, clock=time.clock(), lock=lock) for app in apps))
    assert len(lock._store.held) == 2


def test_a_stopping_scheduler_leaves_tasks_without_a_lock_to_others(
    app: App,
    time: SimulatedTime,
    lock: Lock,
    names: Callable[[], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A scheduler leaves tasks to others whose lock it does not have."""
    caplog.set_level(logging.INFO)
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    lock.away = True
    with Scheduler(app, clock=time.clock(), lock=lock) as scheduler:
        with pytest.raises(AssertionError, match="have not sent all due tasks"):
            _impatient_until(time, scheduler, 3600)
        assert scheduler.stop() is True
    assert names() == []
    assert "left to other schedulers" in caplog.text


def test_real_time(app: App, names: Callable[[], list[str]]) -> None:
    app.periodic("@every 1s", app.remote("x").s())
    with Scheduler(app):
        assert eventually(names) == ["x"]


def test_the_machines_clock() -> None:
    clock = SystemClock()
    before, waker = clock.now(), Waker()
    waker.wake()
    clock.wait(waker, 60)  # ends at once
    clock.wait(waker, 0.01)
    after = clock.now()
    assert 10_000_000 <= after.steady - before.steady < 30 * 10**9
    waker.close()
    waker.close()
    waker.wake()


def test_a_full_pipe_wakes_too() -> None:
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.wait(60)
    waker.wait(0)
    waker.close()


def test_names_of_the_lock(app: App, time: SimulatedTime, start: Start, lock: Lock) -> None:
    app.periodic("* * * * *", app.remote("x").s(), tz="UTC")
    scheduler = start(app, clock=time.clock(), lock=lock)
    time.advance(60, scheduler)
    keys: Any = lock._store.held
    assert list(keys) == ["machinery_lock_gearmesh:machinery_tasks:xCRON_TZ=UTC * * * * *"]
