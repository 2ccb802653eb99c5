"""The doctor finds each fault on a server that has it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
import redis
from click.testing import CliRunner
from tests.support.servers import RabbitServer, RedisServer, free_port

from gearmesh import App
from gearmesh.cli import main
from gearmesh.cli.checks import Case
from gearmesh.cli.checks.schedules import schedules
from gearmesh.scheduler import Scheduler
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.urls import AMQPTarget, parse
from gearmesh.worker import Worker
from gearmesh.worker.loader import load_app


def doctor(*args: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(main, ["doctor", "--json", *args])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.output)


def found(findings: list[dict[str, Any]], level: str, about: str = "") -> list[str]:
    return [each["text"] for each in findings if each["level"] == level and about in each["about"]]


def bindings(findings: list[dict[str, Any]]) -> list[str]:
    return [text for text in found(findings, "problem") if "is bound with" in text]


@contextmanager
def channel(url: str) -> Iterator[Any]:
    target = parse(url, "broker")
    assert isinstance(target, AMQPTarget)
    with amqp.Connection(**target.to_amqp(), confirm_publish=True) as connection:
        yield connection.channel()


@pytest.fixture
def used(amqp_url: str) -> str:
    """A RabbitMQ in which a Python process has sent a task, which was taken."""
    with App(broker=amqp_url) as app:
        app.remote("add", "int64").delay(1)
    with channel(amqp_url) as taker:
        assert taker.queue_purge("machinery_tasks") == 1
    return amqp_url


def test_all_is_well(used: str, redis_url: str) -> None:
    code, findings = doctor("--broker", used, "--backend", redis_url)
    assert code == 0
    assert found(findings, "problem") == []
    assert found(findings, "ok", "broker amqp://***@") == ["answers"]
    assert found(findings, "ok", "backend redis://") == ["answers"]


def test_the_doctor_prints_a_problem_and_its_remedy(used: str) -> None:
    with channel(used) as go:
        go.queue_declare("machinery_task", durable=True, auto_delete=False)
        go.queue_bind("machinery_task", "machinery_exchange", "machinery_task")
        for _ in range(3):
            go.basic_publish(amqp.Message(b"{}"), "machinery_exchange", "machinery_task")
        go.basic_consume("machinery_tasks", callback=lambda message: None)
        done = CliRunner().invoke(main, ["doctor", "--broker", used, "--backend", "memory://x"])
    assert done.exit_code == 1
    assert "PROBLEM queue 'machinery_task' of amqp://***@" in done.output
    assert "has 3 messages and no consumer" in done.output
    assert "rabbitmqctl set_policy" in done.output
    assert done.output.endswith("1 problem\n")
    assert "guest:guest" not in done.output


def test_an_orphan_that_is_read_or_empty_is_no_problem(used: str) -> None:
    with channel(used) as go:
        go.queue_declare("machinery_task", durable=True, auto_delete=False)
        _, findings = doctor("--broker", used)
        assert found(findings, "note", "'machinery_task'") == ["no consumer reads it; it is empty now"]
        go.basic_consume("machinery_task")
        _, findings = doctor("--broker", used)
        assert found(findings, "note", "'machinery_task'") == [
            "has 1 consumer, so you use it as a separate queue"
        ]


def test_copies_in_a_custom_queue_give_its_binding_away(used: str) -> None:
    with channel(used) as go:
        for queue, key in (("mine", "machinery_task"), ("other", "other")):
            go.queue_declare(queue, durable=True, auto_delete=False)
            go.queue_bind(queue, "machinery_exchange", queue)
            go.queue_bind(queue, "machinery_exchange", key)
            for n in range(3):
                go.basic_publish(amqp.Message(b"%d" % n), "machinery_exchange", queue)
        _, findings = doctor("--broker", used, "mine", "other", "none")
        assert bindings(findings) == []
        go.basic_publish(amqp.Message(b"3"), "machinery_exchange", "machinery_task")
        code, findings = doctor("--broker", used, "mine", "other", "none")
        assert code == 1
        (text,) = bindings(findings)
        assert "gets a copy of each default task" in text
        assert text in found(findings, "problem", "queue 'mine'")
        assert [go.basic_get("mine").body for _ in range(4)] == [b"0", b"1", b"2", b"3"], "nothing was moved"


def test_a_default_queue_beside_machinery_s_needs_a_key_of_its_own(used: str) -> None:
    words = ("doctor", "--json", "--broker", used)

    def notes(**env: str) -> list[str]:
        done = CliRunner().invoke(main, words, env={"DEFAULT_QUEUE": "python_tasks", **env})
        return found(json.loads(done.output), "note", "queue 'python_tasks'")

    (text,) = notes()
    assert "is bound with 'machinery_task'. 'machinery_tasks' exists, too" in text
    assert notes(AMQP_BINDING_KEY="python_tasks") == []
    assert notes(DEFAULT_QUEUE="machinery_tasks") == []


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
        (
            "allkeys-lru",
            "100mb",
            "problem",
            "drops waiting messages, messages that workers hold, and results",
        ),
        ("volatile-ttl", "100mb", "problem", "drops results, revocations"),
        ("allkeys-lru", "0", "note", "it has no effect while maxmemory is 0"),
    ],
)
def test_a_redis_that_may_drop_keys(
    redis_server: RedisServer, redis_url: str, policy: str, limit: str, level: str, text: str
) -> None:
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


TASKS = """
from gearmesh import App
app = App({url!r}, {url!r}, lock={lock!r})
empty = App({url!r}, {url!r})

@app.task(queue="pictures")
def resize(width: int) -> int:
    return width

app.periodic("@every 1s", resize.s(1), name="often")
app.periodic("0 6 * * *", resize.s(1), name="daily")
"""


@pytest.fixture
def app(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with an app whose lock is on its Redis."""
    name = f"doctored_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(TASKS.format(url=redis_url, lock=redis_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_messages_that_no_worker_consumes(redis_url: str, app: str) -> None:
    with App(redis_url) as sender:
        sender.remote("resize", "int64").apply_async([1], queue="pictures")
        code, findings = doctor("-A", app)
        assert code == 1
        (text,) = found(findings, "problem", "queue 'pictures'")
        assert text.startswith(
            "1 message waits, and no worker consumes it; the first of them did not move for 1 s"
        )
        (advice,) = (each["advice"] for each in findings if each["text"] == text)
        assert advice.startswith("Start a worker: gearmesh worker MODULE:APP -Q pictures.")
        with Worker(sender, queues=["pictures"]), open_connection(redis_url) as connection:
            eventually(lambda: connection.channel().count("pictures").consumers)
            assert found(doctor("-A", app)[1], "problem", "queue 'pictures'") == []


def test_messages_that_no_worker_consumes_on_rabbitmq(amqp_url: str) -> None:
    with App(amqp_url) as sender:
        for _ in range(2):
            sender.remote("resize").delay()
    code, findings = doctor("--broker", amqp_url)
    assert code == 1
    assert found(findings, "problem", "queue 'machinery_tasks'") == [
        "2 messages wait, and no worker consumes it"
    ]


def test_a_queue_of_which_nothing_is_known(redis_url: str, app: str) -> None:
    _, findings = doctor("picturs", "machinery_tasks", "-A", app)
    assert found(findings, "note", "queue 'picturs'") == [
        "is not known: no message is in it, no worker consumes it, and no task of the app goes to it"
    ]
    (advice,) = (each["advice"] for each in findings if each["about"] == "queue 'picturs'")
    assert advice == "Did you mean 'pictures'?"
    assert found(findings, "note", "queue 'machinery_tasks'") == []


def test_a_message_that_go_sent_without_a_queue(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("", b'{"UUID":"task_1","Name":"pack","RoutingKey":""}')
    code, findings = doctor("--broker", redis_url, "--backend", redis_url)
    assert code == 1
    (text,) = found(findings, "problem", "broker redis")
    assert text.startswith("has 1 message in the list with the empty name, which no worker reads")


def test_parked_messages(redis_url: str) -> None:
    with App(redis_url, redis_url) as app, Worker(app), open_connection(redis_url) as connection:
        app.remote("nobody").delay()
        channel = connection.channel()
        # The doctor looks twice while the message is parked: for 6.4 s.
        eventually(
            lambda: any((p.until or 0) - time.time() > 5 for p in channel.parked("machinery_tasks", 1))
        )
        code, findings = doctor("--broker", redis_url, "--backend", redis_url)
        assert code == 0, findings
        (text,) = found(findings, "note", "queue 'machinery_tasks'")
        assert text.startswith("1 message of the task 'nobody' is parked, the oldest for ")
        assert "no worker that received it has registered this task; it becomes a dead letter in 23 h" in text
        with redis.Redis.from_url(redis_url) as client:
            (key,) = client.keys("gearmesh:{machinery_tasks}:seen:*")
            first, _, rest = client.get(key).partition(b" ")
            client.set(key, b"%d %s" % (int(first) - 120_000, rest))
        code, findings = doctor("--broker", redis_url, "--backend", redis_url)
        assert code == 1
        assert found(findings, "problem", "queue 'machinery_tasks'")


def test_schedules_without_a_scheduler(redis_url: str, app: str) -> None:
    code, findings = doctor("-A", app)
    assert code == 1
    (text,) = found(findings, "problem", "scheduler")
    assert text == (
        "1 of 2 periodic tasks were not sent when they were due: 'often', every 1 s, last sent never"
    )
    loaded = load_app(app)
    with Scheduler(loaded), redis.Redis.from_url(redis_url) as client:
        eventually(lambda: client.llen("pictures"))
        assert found(doctor("-A", app)[1], "ok", "scheduler") == ["no periodic task of 2 is overdue"]
    assert loaded.tasks
    with App(redis_url, redis_url) as without:
        without.periodic("@daily", without.remote("x").s())
        (finding,) = schedules(Case(without))
        assert finding.level == "note"
        assert finding.text.startswith("the app has 1 periodic task and no lock")


def test_an_app_without_tasks(app: str) -> None:
    _, findings = doctor("-A", f"{app}:empty")
    assert found(findings, "note", f"app {app}:empty") == [
        "has no tasks: it can send tasks, but a worker of it can run nothing and parks every message"
    ]


@pytest.mark.parametrize(("skew", "level"), [(0, ""), (2, "note"), (-60, "problem")])
def test_clocks_that_differ(redis_url: str, monkeypatch: pytest.MonkeyPatch, skew: float, level: str) -> None:
    clock = SimpleNamespace(time=lambda: time.time() - skew)
    monkeypatch.setattr("gearmesh.cli.checks.redis.time", clock)
    _, findings = doctor("--broker", redis_url, "--backend", redis_url)
    told = [each for each in findings if "its clock is" in each["text"]]
    assert [each["level"] for each in told] == ([level] if level else [])
    side = "ahead of" if skew > 0 else "behind"
    assert all(f"s {side} this machine's" in each["text"] for each in told)


def test_a_wrong_password_is_one_line(used: str) -> None:
    url = used.replace("guest:guest@", "guest:wr0ng@")
    code, findings = doctor("--broker", url)
    assert code == 1
    (text,) = found(findings, "problem")
    assert "ACCESS_REFUSED" in text
    assert "\n" not in text
    assert "wr0ng" not in str(findings)


def test_a_check_that_fails_is_a_finding(redis_url: str) -> None:
    """A key of another program has the name of a queue."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("taken", "x")
    code, findings = doctor("--broker", redis_url, "taken")
    assert code == 1
    assert any("WRONGTYPE" in text for text in found(findings, "problem", "check 'unserved queues'"))
