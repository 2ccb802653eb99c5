"""``gearmesh verify`` against workers of our own: one that agrees, one that lies about a type, and none at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import amqp
import pytest
import redis
from click.testing import CliRunner, Result

from gearmesh import App
from gearmesh.cli import main
from gearmesh.types import Int64
from gearmesh.urls import AMQPTarget, parse
from gearmesh.verify.echo import echo_tasks, task_of_type
from gearmesh.verify.report import Report, Row, Verdict
from gearmesh.verify.values import VALUES
from gearmesh.wire.typenames import TYPES
from gearmesh.worker import Worker

QUEUE = "gearmesh_verify"


@contextmanager
def echo_worker(
    broker: str, backend: str, *, key: str = QUEUE, lies: str = "", skip: tuple[str, ...] = ()
) -> Iterator[None]:
    """A deployment's worker with the echo tasks. ``lies``: the one that returns another type than it should."""
    settings: Any = {"default_queue": QUEUE, "amqp": {"binding_key": key}}
    with App(broker, backend, **settings) as app:
        echo_tasks(app, skip=(*skip, lies))
        if lies:

            @app.task(name=f"gearmesh_{lies}")
            def lying(*numbers: Int64) -> float:
                return float(sum(numbers))

        with Worker(app, concurrency=4, task_log_limit=0):
            yield


def verify(*args: str) -> Result:
    done = CliRunner().invoke(main, ["verify", *args])
    assert done.exit_code in (0, 1, 2), done.output
    return done


def rows(done: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def keys_of(url: str) -> set[bytes]:
    with closing(redis.Redis.from_url(url)) as client:
        return set(client.keys("*"))


def test_every_type_has_values_and_a_task() -> None:
    assert set(VALUES) == set(TYPES)
    assert len({task_of_type(type) for type in VALUES}) == len(VALUES)


def test_both_sides_agree_on_redis_and_nothing_is_left(redis_url: str, tmp_path: Path) -> None:
    junit = tmp_path / "verify.xml"
    with echo_worker(redis_url, redis_url):
        done = verify("--broker", redis_url, "--backend", redis_url, "--json", "--junit", str(junit))
    assert keys_of(redis_url) == set()
    assert done.exit_code == 0, done.output
    assert {row["verdict"] for row in rows(done)} == {"agrees"}
    directions = {row["direction"] for row in rows(done)}
    assert directions == {"Python → worker", "worker → Python", "workflow"}
    suites = ElementTree.parse(junit).getroot()
    assert {suite.get("name") for suite in suites} == directions
    assert sum(int(suite.get("tests", "0")) for suite in suites) == len(rows(done))


def test_both_sides_agree_on_rabbitmq(amqp_url: str, redis_url: str) -> None:
    with echo_worker(amqp_url, redis_url):
        done = verify("--broker", amqp_url, "--backend", redis_url)
    assert done.exit_code == 0, done.output
    assert "0 differs, 0 not available" in done.output
    with channel(amqp_url) as raw:
        assert raw.queue_declare(QUEUE, passive=True).message_count == 0
    assert not [key for key in keys_of(redis_url) if b"task_" in key or b"group_" in key]


def test_a_task_that_lies_about_a_type_is_named(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with echo_worker(redis_url, redis_url, lies="echo_int64"):
        done = verify("--broker", redis_url, "--backend", redis_url, "--json")
    assert done.exit_code == 1
    wrong = {
        (row["direction"], row["subject"]): row["detail"] for row in rows(done) if row["verdict"] != "agrees"
    }
    assert wrong["Python → worker", "int64"] == (
        "sent int64 -9223372036854775808: got float64 -9.223372036854776e+18, expected int64 -9223372036854775808"
    )
    assert "reflect: Call using float64 as type int64" in wrong["worker → Python", "int64"]
    assert len(wrong) == 2
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [], "the report says it, and no log line does"


def test_a_chain_that_breaks_shows_the_step_that_broke_it(redis_url: str) -> None:
    with echo_worker(redis_url, redis_url, lies="add"):
        done = verify("--broker", redis_url, "--backend", redis_url, "--json", "--timeout", "2")
    (row,) = [row for row in rows(done) if row["subject"].startswith("chain")]
    assert (row["verdict"], row["checked"]) == ("differs", 4)
    assert row["detail"] == "sent 1 + 2, + 3, + 4, + 5: got float64 3.0, expected int64 3"


def test_a_missing_task_is_not_available(redis_url: str) -> None:
    with echo_worker(redis_url, redis_url, skip=("two",)):
        done = verify("--broker", redis_url, "--backend", redis_url, "--json", "--timeout", "3")
        left = [key for key in keys_of(redis_url) if b"task_" in key]
    assert done.exit_code == 0
    (row,) = [row for row in rows(done) if row["verdict"] != "agrees"]
    assert row["subject"] == "two results"
    assert "no answer within 3 s (state PENDING); is the task registered" in row["detail"]
    assert left == []


def test_without_a_worker_the_queue_is_named(redis_url: str) -> None:
    done = verify("--broker", redis_url, "--backend", redis_url, "--json", "--timeout", "0.2")
    assert done.exit_code == 1
    first, *others = rows(done)
    assert (first["direction"], first["subject"], first["verdict"]) == ("queue", QUEUE, "not available")
    assert "no worker takes messages from this queue" in first["detail"]
    assert {row["verdict"] for row in others} == {"not available"}
    assert keys_of(redis_url) == set()


@contextmanager
def channel(url: str) -> Iterator[Any]:
    target = parse(url, "broker")
    assert isinstance(target, AMQPTarget)
    with amqp.Connection(**target.to_amqp(), confirm_publish=True) as connection:
        yield connection.channel()


def test_a_queue_that_is_bound_wrongly_is_named(amqp_url: str, redis_url: str) -> None:
    with channel(amqp_url) as raw:
        raw.exchange_declare("machinery_exchange", "direct", durable=True, auto_delete=False)
        raw.queue_declare(QUEUE, durable=True, auto_delete=False)
        raw.queue_bind(QUEUE, "machinery_exchange", "machinery_task")  # as Go's NewCustomQueueWorker does
        raw.basic_consume(QUEUE, callback=lambda message: None)
        done = verify("--broker", amqp_url, "--backend", redis_url, "--json")
        assert done.exit_code == 1
        first = rows(done)[0]
        assert (first["direction"], first["verdict"]) == ("queue", "differs")
        assert (
            "has no queue bound with the key 'gearmesh_verify': the queue is not bound to this exchange"
            in first["detail"]
        )


@pytest.mark.parametrize("consumed", [False, True])
def test_a_queue_without_worker_is_named_on_rabbitmq(amqp_url: str, redis_url: str, consumed: bool) -> None:
    if consumed:
        with channel(amqp_url) as raw:
            raw.queue_declare(QUEUE, durable=True, auto_delete=False)
    done = verify("--broker", amqp_url, "--backend", redis_url, "--json")
    assert done.exit_code == 1
    expected = "exists, and no worker consumes it" if consumed else "does not exist"
    assert expected in rows(done)[0]["detail"]


def test_a_queue_in_use_is_refused(redis_url: str) -> None:
    with App(redis_url, redis_url, default_queue=QUEUE) as app:
        app.send_task("other", [1])
    done = verify("--broker", redis_url, "--backend", redis_url)
    assert done.exit_code == 2
    assert "1 messages wait in the queue 'gearmesh_verify'" in done.output


def test_a_release_that_cannot_take_a_value_is_said(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEARMESH_MACHINERY_RELEASE", "v1.8.8")
    with echo_worker(redis_url, redis_url):
        done = verify("--broker", redis_url, "--backend", redis_url, "--json")
    assert done.exit_code == 0
    skipped = [row for row in rows(done) if row["verdict"] == "not available"]
    assert {row["subject"] for row in skipped} == {
        f"{type} above 2^63-1" for type in ("uint", "uint64", "[]uint", "[]uint64")
    }
    assert "not sent: task 'gearmesh_echo_uint', argument 1 as uint is" in skipped[0]["detail"]


def test_junit_names_failures_and_skips() -> None:
    def make(verdict: Verdict) -> Row:
        return Row(direction="d", subject="s", verdict=verdict, detail="<why>")

    report = Report(
        broker="b", backend="c", queue="q", rows=(make("agrees"), make("differs"), make("not available"))
    )
    suite = ElementTree.fromstring(report.to_junit().partition("\n")[2])[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [child.get("message") for case in suite for child in case] == ["<why>", "<why>"]
    assert not report.agrees
