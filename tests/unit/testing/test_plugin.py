"""The pytest plugin's fixtures, and the example that uses nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gearmesh
from gearmesh import App, PublishError, Retry, chain, chord
from gearmesh.errors import ConfigError
from gearmesh.testing.broker_kit import BrokerKit
from gearmesh.testing.controlled_broker import ControlledBroker
from gearmesh.worker import Worker

pytest_plugins = ["gearmesh.testing.plugin"]
EXAMPLE = Path(__file__).parents[3] / "examples" / "testing"


def test_the_example_tests_its_tasks_with_the_plugin_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gearmesh.testing.plugin"],
        cwd=EXAMPLE,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(gearmesh.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_nothing_runs_before_it_is_told_to(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    @gearmesh_app.task
    def double(n: int) -> int:
        return 2 * n

    result = chain(double.s(1), double.s(), double.s().set(queue="other")).delay()
    gearmesh_broker.assert_enqueued(double, (1,), queue="machinery_tasks")
    assert not result.ready()
    assert gearmesh_broker.run_all() == ["double"] * 3
    assert result.get(timeout=1) == 8
    assert gearmesh_broker.enqueued() == []


def test_a_chord_runs_to_its_end(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    @gearmesh_app.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    result = chord([add.s(1, 1), add.s(2, 2)], add.s()).delay()
    assert gearmesh_broker.run_all() == ["add"] * 3
    assert result.get(timeout=1) == 6


def test_the_error_lists_the_enqueued_calls(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    @gearmesh_app.task
    def greet(name: str, times: int = 1) -> str:
        return name * times

    greet.delay("Ann")
    greet.apply_async(("Bob", 2), countdown=90)
    gearmesh_broker.assert_enqueued(greet, count=2)
    gearmesh_broker.assert_enqueued(greet, kwargs={"name": "Bob", "times": 2}, delay=90)
    with pytest.raises(AssertionError) as error:
        gearmesh_broker.assert_enqueued(greet, ("Cid",))
    text = str(error.value)
    assert text.startswith("0 calls of greet('Cid') are enqueued, expected 1; all messages:\n  greet('Ann'")
    assert re.search(r"greet\('Bob', 2\) in 'machinery_tasks', due in (90|8[5-9](\.\d)?) s", text)


def test_time_passes_only_when_the_test_moves_it(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    tries: list[int] = []

    @gearmesh_app.task(retry=Retry(max=2, backoff="exponential", first=3600, most=1e6, jitter=False))
    def fragile() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return "done"

    result = fragile.delay()
    assert gearmesh_broker.run_all() == ["fragile"]
    gearmesh_broker.assert_enqueued(fragile, delay=3600)
    gearmesh_broker.advance(3601)
    assert gearmesh_broker.run_all() == ["fragile"]
    gearmesh_broker.assert_enqueued(fragile, delay=7200)
    assert gearmesh_broker.run_all(delayed=True) == ["fragile"]
    assert result.get(timeout=1) == "done"


def test_a_broker_that_is_away_and_comes_back(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    @gearmesh_app.task
    def ping() -> None: ...

    gearmesh_app.reopen(gearmesh_app.config.having({"publish_timeout": 0}))
    with gearmesh_broker.away(), pytest.raises(PublishError, match="the test keeps the broker away"):
        ping.delay()
    ping.delay()
    gearmesh_broker.assert_enqueued(ping)


def test_a_lost_reply_sends_once_and_runs_once(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    runs: list[int] = []

    @gearmesh_app.task
    def count() -> None:
        runs.append(1)

    gearmesh_broker.lose_reply()
    result = count.delay()
    gearmesh_broker.assert_enqueued(count)
    gearmesh_broker.lose_reply()
    assert gearmesh_broker.run_all() == ["count"]
    assert (result.state, len(runs)) == ("SUCCESS", 1)


def test_a_worker_that_dies_runs_its_task_again(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    runs: list[int] = []

    @gearmesh_app.task
    def once() -> int:
        runs.append(1)
        return len(runs)

    result = once.delay()
    gearmesh_broker.kill_worker(once)
    assert gearmesh_broker.run_all() == ["once", "once"]
    assert result.get(timeout=1) == 2
    assert gearmesh_broker.dead() == []


def test_a_worker_that_always_dies_makes_a_dead_letter(gearmesh_app: App, gearmesh_broker: BrokerKit) -> None:
    @gearmesh_app.task
    def poison() -> None: ...

    poison.delay()
    for _ in range(10):
        gearmesh_broker.kill_worker(poison)
    assert len(gearmesh_broker.run_all()) < 10
    assert [call.task for call in gearmesh_broker.dead()] == ["poison"]


def test_a_worker_beside_the_test(gearmesh_app: App, gearmesh_worker: Worker) -> None:
    @gearmesh_app.task
    def late() -> int:
        return 1

    assert late.delay().get(timeout=30) == 1


def test_an_app_moves_to_another_broker_and_back() -> None:
    here, there = ControlledBroker(), ControlledBroker()
    with App(here.url, here.url) as app:

        @app.task
        def ping() -> None: ...

        ping.delay()
        before = app.reopen(app.config.having({"broker": there.url, "backend": there.url}))
        assert ping.delay().state == "PENDING"
        assert (len(here.pending("machinery_tasks")), len(there.pending("machinery_tasks"))) == (1, 1)
        app.reopen(before)
        ping.delay()
        assert (len(here.pending("machinery_tasks")), len(there.pending("machinery_tasks"))) == (2, 1)


def test_an_app_without_a_broker_has_none_afterwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER", "GEARMESH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    app, broker = App(), ControlledBroker()
    before = app.reopen(App(broker.url).config)
    assert app.has_broker
    app.reopen(before)
    with pytest.raises(ConfigError, match="broker is missing"):
        app.send_task("any")
