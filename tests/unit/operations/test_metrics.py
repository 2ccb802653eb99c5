"""The metrics as Prometheus reads them: names, series, and a real worker's numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from uuid import uuid4

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from tests.unit.operations.conftest import Launch, get
from tests.unit.operations.test_tally import Ended, commit

from gearmesh import App
from gearmesh.control.client import ControlClient
from gearmesh.errors import ConfigError
from gearmesh.interfaces.observer import Flush
from gearmesh.metrics.exporter import Exporter, exposition
from gearmesh.metrics.series import OUTCOMES, WORKER_SERIES
from gearmesh.metrics.server import MetricsServer
from gearmesh.metrics.tally import Tally
from gearmesh.metrics.totals import Totals
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import encode
from gearmesh.wire.names import DEFAULT_QUEUE as QUEUE
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import SUCCESS


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(text)
        for sample in family.samples
    }


def scraped(totals: Totals, accept: str = "") -> str:
    return exposition([Exporter(totals, "threads", lambda: 1)], accept)[0].decode()


def test_100000_tasks_with_random_uuids_add_no_series() -> None:
    totals, tally = Totals(), Tally()

    def run(count: int) -> set[Any]:
        for start in range(0, count, 500):
            jobs = [Ended(f"task{i % 50}", f"task_{uuid4()}") for i in range(start, start + 500)]
            tally.flushed(Flush([(commit(job, SUCCESS), job) for job in jobs], ["done"] * 500, 0.01))
        totals.add("consumer", tally.take())
        return set(samples(scraped(totals)))

    before = run(500)
    assert run(100_000) == before
    text = scraped(totals)
    assert (
        sum(value for (name, _), value in samples(text).items() if name == "gearmesh_tasks_total") == 100_500
    )
    assert re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text) is None


def test_names_follow_the_conventions() -> None:
    for name, series in WORKER_SERIES.items():
        assert re.fullmatch(r"gearmesh_[a-z_]+[a-z]", name)
        assert series.help.endswith(".") or name.endswith("_info")
        assert (series.kind == "histogram") is bool(series.bounds)
        assert not name.endswith(("_total", "_count", "_sum", "_ms"))
        assert list(series.bounds) == sorted(series.bounds)


def test_an_idle_worker_shows_the_series_that_have_no_labels() -> None:
    found = {family.name for family in families(scraped(Totals()))}
    assert found >= {name for name, series in WORKER_SERIES.items() if not series.labels}


def test_openmetrics_is_understood_too() -> None:
    text = scraped(Totals(), "application/openmetrics-text; version=1.0.0")
    assert {family.name for family in open_families(text)} >= {"gearmesh_task_slots"}


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    def broken(accept: str) -> tuple[int, bytes, str]:
        raise ValueError("secret")

    server = MetricsServer(
        "127.0.0.1", 0, {"/metrics": lambda accept: (200, b"x 1\n", "text/plain"), "/bad": broken}
    )
    server.start()
    yield server
    server.stop()


def test_the_server(server: MetricsServer) -> None:
    assert get(server.port, "/metrics?x=1") == "x 1\n"
    for path, status in (("/", 404), ("/bad", 500)):
        with pytest.raises(HTTPError) as raised:
            get(server.port, path)
        assert raised.value.code == status
        assert "secret" not in raised.value.read().decode()
        raised.value.close()
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        MetricsServer("127.0.0.1", server.port, {})
    server.stop()
    server.stop()


def test_a_worker_of_processes(launch: Launch, project: Path, redis_url: str, free_port: int) -> None:
    worker = launch(
        "worker", "shop:app", "--pool", "processes", "-c", "2", "--metrics-port", str(free_port),
        "--task-log-limit", "1", "--no-remote-control",
    )  # fmt: skip

    def now() -> dict[Any, float]:
        try:
            return samples(get(free_port, "/metrics"))
        except OSError:
            assert worker.process.poll() is None, worker.output
            return {}

    def value(name: str, **labels: str) -> float:
        return now().get((name, tuple(sorted(labels.items()))), 0.0)

    eventually(lambda: value("gearmesh_worker_processes", state="consuming") == 2, what="consuming")
    assert get(free_port, "/readyz") == get(free_port, "/healthz") == "ok\n"
    with App(redis_url, redis_url) as app:
        add, fail = app.remote("add", "int64", "int64"), app.remote("fail", "string")
        app.publish_many([add.s(i, 1) for i in range(1000)] + [fail.s(f"no {i}") for i in range(20)])
        unknown = app.remote("unknown", "string")
        unknown.delay("x")
        ended = {"succeeded": ("add", 1000), "failed": ("fail", 20)}
        for outcome, (task, count) in ended.items():
            labels = {"task": task, "queue": "machinery_tasks", "outcome": outcome}
            eventually(lambda: value("gearmesh_tasks_total", **labels) == count, what=outcome)  # noqa: B023
        eventually(lambda: value("gearmesh_parked_messages_total", queue="machinery_tasks") >= 1)
        assert ControlClient(app).ask("ping", timeout=0.2) == []  # it runs without remote control
    found = now()
    assert found["gearmesh_task_run_seconds_count", (("task", "add"),)] == 1000
    assert found["gearmesh_task_slots", ()] == 2
    assert found["gearmesh_commit_batch_size_sum", ()] >= 1020
    assert found["gearmesh_worker_memory_bytes", (("process", "tasks"),)] > 1e7
    outcomes = {dict(labels)["outcome"] for name, labels in found if name == "gearmesh_tasks_total"}
    assert outcomes <= set(OUTCOMES)
    assert not any("unknown" in json.dumps(labels) for _, labels in found)
    assert worker.end() == 0


def test_messages_of_silent_workers_are_counted(
    launch: Launch, project: Path, redis_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes three messages and sends no heartbeat: this one returns them, and counts them once."""
    monkeypatch.setenv("GEARMESH_LEASE", "1")
    silent = Tap(open_connection(redis_url), (QUEUE,), 3)
    silent.publish(
        QUEUE, *(encode(Signature(UUID=f"task_{n}", Name="unknown", RoutingKey=QUEUE)) for n in range(3))
    )
    silent.take(3)
    worker = launch("worker", "shop:app", "--metrics-port", str(free_port), "--no-remote-control")
    name = ("gearmesh_reaped_deliveries_total", (("queue", QUEUE),))

    def counted() -> float:
        try:
            return samples(get(free_port, "/metrics")).get(name, 0.0)
        except OSError:
            assert worker.process.poll() is None, worker.output
            return 0.0

    eventually(lambda: counted() >= 3, what="the count of reaped deliveries")
    assert counted() == 3
    assert worker.end() == 0
    silent.close()


def test_a_port_that_is_taken_is_an_error(launch: Launch, server: MetricsServer) -> None:
    worker = launch("worker", "shop:app", "--metrics-port", str(server.port))
    assert worker.process.wait(60) == 2
    assert f"metrics: cannot listen on 127.0.0.1:{server.port}" in worker.output
