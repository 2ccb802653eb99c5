"""What the doctor finds, on servers that have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
from click.testing import CliRunner

from gearmesh import App
from gearmesh.cli import main
from gearmesh.testing.servers import RabbitServer, RedisServer, free_port
from gearmesh.urls import AMQPTarget, parse


def doctor(*args: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(main, ["doctor", "--json", *args])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.output)


def found(findings: list[dict[str, Any]], level: str, about: str = "") -> list[str]:
    return [each["text"] for each in findings if each["level"] == level and about in each["about"]]


@contextmanager
def channel(url: str) -> Iterator[Any]:
    target = parse(url, "broker")
    assert isinstance(target, AMQPTarget)
    with amqp.Connection(**target.to_amqp(), confirm_publish=True) as connection:
        yield connection.channel()


@pytest.fixture
def used(amqp_url: str) -> str:
    """A RabbitMQ in which a Python process has sent a task."""
    with App(broker=amqp_url) as app:
        app.remote("add", "int64").delay(1)
    return amqp_url


def test_all_is_well(used: str, redis_url: str) -> None:
    code, findings = doctor("--broker", used, "--backend", redis_url)
    assert code == 0
    assert found(findings, "problem") == []
    assert found(findings, "ok", "broker amqp://***@") == ["answers"]
    assert found(findings, "ok", "backend redis://") == ["answers"]


def test_people_are_told_what_to_do(used: str) -> None:
    with channel(used) as go:
        go.queue_declare("machinery_task", durable=True, auto_delete=False)
        go.queue_bind("machinery_task", "machinery_exchange", "machinery_task")
        for _ in range(3):
            go.basic_publish(amqp.Message(b"{}"), "machinery_exchange", "machinery_task")
    done = CliRunner().invoke(main, ["doctor", "--broker", used, "--backend", "memory://x"])
    assert done.exit_code == 1
    assert "PROBLEM queue 'machinery_task' of amqp://***@" in done.output
    assert "3 messages that nobody reads" in done.output
    assert "rabbitmqctl set_policy" in done.output
    assert done.output.endswith("1 problem\n")
    assert "guest:guest" not in done.output


def test_an_orphan_that_is_read_or_empty_is_no_problem(used: str) -> None:
    with channel(used) as go:
        go.queue_declare("machinery_task", durable=True, auto_delete=False)
        _, findings = doctor("--broker", used)
        assert found(findings, "note", "'machinery_task'") == ["nobody reads it; at present it is empty"]
        go.basic_consume("machinery_task")
        _, findings = doctor("--broker", used)
        assert found(findings, "note", "'machinery_task'") == [
            "is read by 1 consumers, as a queue of its own"
        ]


def test_copies_in_a_custom_queue_give_its_binding_away(used: str) -> None:
    with channel(used) as go:
        for queue, key in (("mine", "machinery_task"), ("other", "other")):
            go.queue_declare(queue, durable=True, auto_delete=False)
            go.queue_bind(queue, "machinery_exchange", queue)
            go.queue_bind(queue, "machinery_exchange", key)
            for n in range(3):
                go.basic_publish(amqp.Message(b"%d" % n), "machinery_exchange", queue)
        code, findings = doctor("--broker", used, "mine", "other", "none")
        assert (code, found(findings, "problem")) == (0, [])
        go.basic_publish(amqp.Message(b"3"), "machinery_exchange", "machinery_task")
        code, findings = doctor("--broker", used, "mine", "other", "none")
        assert code == 1
        (text,) = found(findings, "problem", "queue 'mine'")
        assert "gets a copy of each default task" in text
        assert len(found(findings, "problem")) == 1
        assert [go.basic_get("mine").body for _ in range(4)] == [b"0", b"1", b"2", b"3"], "nothing was moved"


def test_the_management_api_lists_all_bindings(make_rabbitmq: Callable[..., RabbitServer]) -> None:
    port = free_port()
    conf = ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {port}"]
    server = make_rabbitmq(plugins=["rabbitmq_management"], conf=conf)
    with channel(server.url) as go:
        go.exchange_declare("machinery_exchange", "direct", durable=True, auto_delete=False)
        for queue in ("machinery_tasks", "mine"):
            go.queue_declare(queue, durable=True, auto_delete=False)
            go.queue_bind(queue, "machinery_exchange", "machinery_task")
    code, findings = doctor("--broker", server.url, "--management", f"http://guest:guest@127.0.0.1:{port}")
    assert code == 1
    (text,) = found(findings, "problem")
    assert found(findings, "problem", "queue 'mine'") == [text]
    for wrong, reason in ((f"http://guest:no@127.0.0.1:{port}", "401"), ("localhost", "expected http://")):
        code, findings = doctor("--broker", server.url, "--management", wrong)
        (text,) = found(findings, "problem", "management API")
        assert reason in text
        assert ":no@" not in str(findings)


def test_servers_that_are_away() -> None:
    url = f"127.0.0.1:{free_port()}"
    args = ("--broker", f"amqp://me:secret@{url}/", "--backend", f"redis://:secret@{url}/0")
    code, findings = doctor(*args)
    assert code == 1
    for about in ("broker amqp://***@", "backend redis://***@"):
        (text,) = found(findings, "problem", about)
        assert text.startswith("cannot be reached")
    assert "secret" not in str(findings)


@pytest.mark.parametrize(
    ("policy", "limit", "level", "text"),
    [
        ("noeviction", "100mb", "", ""),
        ("allkeys-lru", "100mb", "problem", "drops waiting messages, what workers hold, and results"),
        ("volatile-ttl", "100mb", "problem", "drops results, revocations"),
        ("allkeys-lru", "0", "note", "as long as maxmemory is 0 it does nothing"),
    ],
)
def test_a_redis_that_may_drop_keys(
    redis_server: RedisServer, redis_url: str, policy: str, limit: str, level: str, text: str
) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        try:
            client.config_set("maxmemory-policy", policy)
            client.config_set("maxmemory", limit)
            code, findings = doctor("--broker", redis_url, "--backend", redis_url)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert code == (level == "problem")
    told = found(findings, level, "broker redis") if level else []
    assert any(text in each for each in told) == bool(text)
    assert any("keeps nothing on disk" in each for each in found(findings, "note")), "the test's server"
    assert len([each for each in findings if "maxmemory" in each["text"]]) == bool(text)


def test_no_results_may_be_meant_so(redis_url: str) -> None:
    code, findings = doctor("--broker", redis_url)
    assert code == 0
    assert found(findings, "note", "backend null")
