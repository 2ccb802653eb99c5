"""The history of queues: the counts that a worker writes, and the charts that the dashboard draws of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import redis
from tests.unit.operations.conftest import Launch
from tests.web.visitor import TOKEN

from gearmesh import App, Config
from gearmesh.interfaces.listing import Minutes, SupportsHistory
from gearmesh.metrics.histogram import Histogram
from gearmesh.metrics.report import Report, TaskCounts
from gearmesh.metrics.series import RUN_BOUNDS_S
from gearmesh.metrics.totals import Totals
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import connect, open_connection
from gearmesh.web import DashboardSettings
from gearmesh.web.desk import Desk
from gearmesh.web.history import chart_of
from gearmesh.worker.history_writer import HistoryWriter, keeps_history


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    with App(redis_url, redis_url) as app:
        yield app


@pytest.fixture
def desk(app: App) -> Iterator[Desk]:
    desk = Desk(app, DashboardSettings(token=TOKEN))
    yield desk
    desk.close()


@pytest.fixture
def channel(app: App) -> Iterator[Any]:
    with connect(app.config) as connection:
        yield connection.default_channel


def ended(totals: Totals, outcome: str, count: int, queue: str = "shop", run_s: float = 0.0) -> None:
    run = Histogram()
    if run_s:
        run.observe(run_s, RUN_BOUNDS_S, count)
    totals.add("c", Report(tasks=[TaskCounts("add", queue, outcome, count, run)]))


def test_counts_are_added_by_minute(app: App) -> None:
    with connect(app.config) as connection:
        channel: Any = connection.default_channel
        assert isinstance(channel, SupportsHistory)
        for minute in (59, 60, 61, 61, 200):
            channel.add_history("a{b}c", minute, {"succeeded": 2, "failed": 1})
        assert channel.history(["a{b}c", "other"], 60, 200) == {
            "a{b}c": {60: {"succeeded": 2, "failed": 1}, 61: {"succeeded": 4, "failed": 2}},
            "other": {},
        }


def test_other_brokers_have_no_place_for_it() -> None:
    with open_connection("memory://x") as connection:
        assert not isinstance(connection.default_channel, SupportsHistory)


def test_a_worker_keeps_one_where_the_broker_has_a_place_for_it() -> None:
    for broker, keeps in {
        "redis://h/0": True,
        "rediss://h/0": True,
        "memory://x": True,  # its channel says that it has none
        "amqp://h/": False,
        "https://sqs.eu-west-1.amazonaws.com/1": False,
        "gcppubsub://project/subscription": False,
    }.items():
        assert keeps_history(Config(broker=broker)) is keeps, broker
        assert not keeps_history(Config(broker=broker, history=False))


def test_the_writer_counts_each_ended_task_once(channel: Any, desk: Desk) -> None:
    totals = Totals()
    writer = HistoryWriter(totals)
    writer.write(channel)
    ended(totals, "succeeded", 5, run_s=0.1)
    ended(totals, "failed", 2)
    for _ in range(2):
        writer.write(channel)
    ended(totals, "succeeded", 1)
    ended(totals, "retried", 3, queue="b")
    writer.write(channel)
    chart = chart_of(desk, ["shop", "b", "c"])
    assert chart is not None
    assert (chart.ended, chart.failed, chart.retried, chart.queues) == (8, 2, 3, 3)
    assert chart.mean_run_ms == pytest.approx(500 / 11)
    assert len(chart.bars) == 60
    assert max(bar.ended_height for bar in chart.bars) == 40


class Refusing:
    """A channel whose Redis refuses the command or is unreachable."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def add_history(self, queue: str, minute: int, counts: Mapping[str, int]) -> None:
        self.asked += 1
        raise self.error

    def history(self, queues: Sequence[str], start: int, end: int) -> dict[str, Minutes]:
        raise self.error


def test_a_broker_that_refuses_it_is_asked_ever_less(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("gearmesh.worker.history_writer.time.monotonic", lambda: now)
    writer, refusing = HistoryWriter(totals := Totals()), Refusing(RuntimeError("NOPERM"))
    pauses = []
    for _ in range(4):
        ended(totals, "succeeded", 1)
        now += writer.step(refusing, (OSError,))
        pauses.append(writer.step(refusing, (OSError,)))
    assert (pauses, refusing.asked) == ([5.0, 10.0, 20.0, 40.0], 4)
    assert "the history of queues is not written: NOPERM" in caplog.text
    refusing.error = ConnectionResetError("gone")
    ended(totals, "succeeded", 1)
    now += writer.step(refusing, (OSError,))
    with pytest.raises(ConnectionResetError):
        writer.step(refusing, (OSError,))


def test_keys_expire_and_strangers_fields_do_no_harm(channel: Any, desk: Desk, redis_url: str) -> None:
    writer = HistoryWriter(totals := Totals())
    ended(totals, "succeeded", 1)
    writer.write(channel)
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.keys("gearmesh:{shop}:history:*")  # type: ignore[misc]
        assert 0 < int(client.ttl(key)) <= 3 * 3600  # type: ignore[arg-type]
        client.hset(key, mapping={"x": "1", f"{int(time.time()) // 60}:odd": "y", "\xff:a": "2"})
    chart = chart_of(desk, ["shop"])
    assert chart is not None
    assert chart.ended == 1


def test_a_worker_writes_how_its_tasks_ended(launch: Launch, redis_url: str) -> None:
    worker = launch("worker", "shop:app", "-c", "2")
    with App(redis_url, redis_url) as app:
        for result in [app.remote("add", "int64", "int64").delay(i, 1) for i in range(20)]:
            result.get(timeout=60)
        desk = Desk(app, DashboardSettings(token=TOKEN))
        assert worker.end() == 0  # it writes the last ones as it ends

        def drawn() -> int:
            chart = chart_of(desk, ["machinery_tasks"])
            return chart.ended if chart is not None else 0

        eventually(lambda: drawn() == 20)
        desk.close()
