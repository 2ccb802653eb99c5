"""Remote control: verbs, replies, and real workers that are asked and told."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import redis
from click.testing import CliRunner, Result
from tests.unit.operations.conftest import TASKS, Command, Launch, run

from gearmesh import App, Config, ConfigError, GearmeshError
from gearmesh.cli import main
from gearmesh.control.client import ControlClient
from gearmesh.control.line import ControlLine, is_controlled, open_line
from gearmesh.control.messages import VERBS, Reply, check, decode_reply, decode_request
from gearmesh.errors import RemoteProtocolError
from gearmesh.testing.waiting import eventually
from gearmesh.worker.control_server import ControlServer

FINE: dict[str, dict[str, Any]] = {
    "ping": {},
    "status": {},
    "pause": {"kind": "queue", "name": "a"},
    "resume": {"kind": "task", "name": "b"},
    "grow": {"count": 1},
    "shrink": {"count": 2},
    "log-level": {"level": "DEBUG"},
    "shutdown": {},
}


def test_all_verbs_are_known() -> None:
    assert set(FINE) == set(VERBS)
    for verb, args in FINE.items():
        check(verb, args)


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("eval", {}),
        ("__class__", {}),
        ("ping", {"x": 1}),
        ("pause", {}),
        ("pause", {"kind": "exchange", "name": "a"}),
        ("pause", {"kind": "queue", "name": ""}),
        ("pause", {"kind": "queue", "name": "x" * 501}),
        ("grow", {"count": 0}),
        ("grow", {"count": True}),
        ("grow", {"count": 10**9}),
        ("log-level", {"level": "LOUD"}),
    ],
)
def test_other_requests_are_refused(verb: str, args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="remote control"):
        check(verb, args)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"id": 1, "verb": "ping"}', b"\xff", b"[" * 100_000]
)
def test_bodies_that_are_no_request_and_no_reply_are_not_decoded(body: bytes) -> None:
    for decode in (decode_request, decode_reply):
        with pytest.raises(RemoteProtocolError):
            decode(body)


def test_workers_of_one_name_are_several(redis_url: str) -> None:
    with App(redis_url) as app, ExitStack() as stack:
        lines = [stack.enter_context(closing(open_line(app.config, listens=True))) for _ in range(2)]

        def answer(line: ControlLine, instance: str) -> None:
            request = decode_request(line.receive(60) or b"")
            reply = Reply(id=request.id, worker="web", instance=instance)
            line.send(msgspec.json.encode(reply), request.reply_to)

        threads = [threading.Thread(target=answer, args=pair) for pair in zip(lines, "ab", strict=True)]
        for thread in threads:
            thread.start()
        replies = ControlClient(app).ask("ping", timeout=60)
        for thread in threads:
            thread.join()
    assert [(reply.worker, reply.instance) for reply in replies] == [("web", "a"), ("web", "b")]


def test_only_some_brokers_have_it() -> None:
    with App("memory://x") as app, pytest.raises(ConfigError, match="needs Redis or RabbitMQ"):
        ControlClient(app).ask("ping")


def test_workers_of_some_brokers_listen_unless_the_setting_is_off() -> None:
    for broker, listens in {"redis://h/0": True, "amqp://h/": True, "memory://x": False}.items():
        assert is_controlled(Config(broker=broker)) is listens
        assert not is_controlled(Config(broker=broker, remote_control=False))


def test_a_user_who_may_use_no_channels(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "quiet", "on", ">hush", "~*", "+@all", "resetchannels")
        try:
            with App(redis_url.replace("//", "//quiet:hush@", 1)) as app:
                with pytest.raises(ConfigError, match="not allowed on redis://") as raised:
                    open_line(app.config, listens=True)
                assert "hush" not in str(raised.value)
                server = ControlServer(app, cast(Any, None))
                with caplog.at_level(logging.INFO, "gearmesh.supervisor"):
                    server.start()
                    eventually(lambda: "this worker receives no requests" in caplog.text)
                server.stop()
        finally:
            client.execute_command("ACL", "DELUSER", "quiet")


def test_a_broker_that_is_away(free_port: int) -> None:
    with (
        App(f"redis://127.0.0.1:{free_port}/0") as app,
        pytest.raises(GearmeshError, match="cannot be asked"),
    ):
        ControlClient(app).ask("ping")


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("redis_url" if request.param == "redis" else "amqp_url")
    return url


@pytest.fixture
def app(broker: str, redis_url: str, project: Path) -> Iterator[App]:
    tasks = TASKS.format(url=broker).replace(f"({broker!r}, {broker!r})", f"({broker!r}, {redis_url!r})")
    (project / "shop.py").write_text(tasks)
    with App(broker, redis_url) as app:
        yield app


NAME = "w1"


def gearmesh(*words: str) -> Result:
    """Run a command in this process: a new interpreter costs seconds on a busy machine."""
    return CliRunner().invoke(main, words)


def asked(app: App, verb: str, **args: Any) -> Reply:
    """The reply of the worker; with its name, the wait ends when it has replied."""
    (reply,) = ControlClient(app).ask(verb, args, to=[NAME], timeout=30)
    return reply


def status(app: App) -> dict[str, Any]:
    return asked(app, "status").data


def started(app: App, launch: Launch, *words: str) -> Command:
    """A worker that consumes."""
    command = launch("worker", "shop:app", "--name", NAME, *words)

    def ready() -> bool:
        assert command.process.poll() is None, command.output
        replies = ControlClient(app).ask("status", to=[NAME], timeout=0.5)
        return any(reply.data["ready"] for reply in replies)

    eventually(ready, what="a ready worker")
    return command


def test_a_worker_is_asked_and_told(app: App, launch: Launch, project: Path) -> None:
    worker = started(app, launch, "-c", "2")
    data = status(app)
    assert (data["pool"], data["slots"], data["queues"]) == ("threads", 2, ["machinery_tasks"])
    wait_for, add = app.remote("wait_for", "string"), app.remote("add", "int64", "int64")
    waits = wait_for.delay(str(project / "go"))
    running = eventually(lambda: status(app)["tasks"])
    assert (running[0]["task"], running[0]["uuid"]) == ("wait_for", waits.id)
    asked(app, "pause", kind="queue", name="machinery_tasks")
    eventually(lambda: "paused queues: machinery_tasks" in worker.output)
    waiting = add.delay(1, 2)
    (project / "go").touch()
    waits.wait(timeout=60)
    assert status(app)["paused"] == ["queue machinery_tasks"]
    assert waiting.state == "PENDING"
    asked(app, "resume", kind="queue", name="machinery_tasks")
    assert waiting.get(timeout=60) == 3
    assert asked(app, "grow", count=3).data == {"slots": 5}
    assert "room for" in asked(app, "grow", count=1000).error
    with closing(open_line(app.config)) as line:
        for body in (b"nonsense", msgspec.json.encode({"id": "1", "verb": "eval", "args": {"code": "1"}})):
            line.send(body)
    assert asked(app, "ping").error == ""
    asked(app, "shutdown")
    assert worker.process.wait(60) == 0


def test_processes_grow_and_shrink_and_a_pause_is_remembered(
    redis_url: str, launch: Launch, project: Path
) -> None:
    none = gearmesh("workers", "--broker", redis_url)
    assert (none.exit_code, none.stdout) == (1, "")
    assert "no Python worker" in none.stderr
    with App(redis_url, redis_url) as app:
        client = ControlClient(app)
        assert client.ask("pause", {"kind": "queue", "name": "machinery_tasks"}) == []
        assert client.paused() == {("queue", "machinery_tasks")}
        worker = started(app, launch, "--pool", "processes", "-c", "1")
        assert status(app)["paused"] == ["queue machinery_tasks"]
        asked(app, "grow", count=1)
        eventually(lambda: len(status(app)["consumers"]) == 2, what="a second process")
        result = app.remote("add", "int64", "int64").delay(1, 2)
        asked(app, "shrink", count=1)
        eventually(lambda: len(status(app)["consumers"]) == 1, what="one process")
        assert result.state == "PENDING"
        # The command line
        listed = run(project, "workers", "-A", "shop:app")
        assert NAME in listed.stdout, listed.stderr
        assert "queue machinery_tasks" in listed.stdout
        told = gearmesh("workers", "resume", "queue", "machinery_tasks", "--broker", redis_url, "--json")
        assert json.loads(told.stdout) == [{"worker": NAME, "error": ""}]
        assert client.paused() == set()
        assert result.get(timeout=60) == 3
        assert gearmesh("workers", "shutdown", "--yes", "--broker", redis_url).exit_code == 0
        assert worker.process.wait(60) == 0


def test_the_command_asks_and_refuses(redis_url: str) -> None:
    asked_for = gearmesh("workers", "shutdown", "--broker", redis_url)
    assert asked_for.exit_code == 1
    assert "stop all workers" in asked_for.output


@pytest.mark.parametrize("words", [("grow", "0"), ("pause", "exchange", "x"), ("log-level", "loud")])
def test_wrong_words_are_refused(words: tuple[str, ...]) -> None:
    assert gearmesh("workers", *words, "--broker", "redis://127.0.0.1:1/0").exit_code == 2
