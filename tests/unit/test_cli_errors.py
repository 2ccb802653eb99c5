"""Every command with servers that refuse or that are unreachable: one line, exit code 2, no password."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from click.testing import CliRunner, Result
from tests.support.servers import RabbitServer, RedisServer

from gearmesh.cli import main

#: Commands that need the broker.
BROKER_COMMANDS: dict[str, tuple[str, ...]] = {
    "queues": ("queues",),
    "queues a": ("queues", "a"),
    "pending": ("pending",),
    "delayed": ("delayed",),
    "parked": ("parked",),
    "dead list": ("dead", "list"),
    "dead show": ("dead", "show", "1"),
    "dead retry": ("dead", "retry", "1"),
    "dead drop": ("dead", "drop", "1", "--yes"),
    "purge": ("purge", "--yes"),
    "purge, asking": ("purge",),
    "send": ("send", "add"),
    "send --wait": ("send", "add", "--wait", "--timeout", "5"),
    "worker": ("worker", "shop"),
    "worker --with-scheduler": ("worker", "shop", "--with-scheduler"),
    "dev": ("dev", "shop"),
}
#: Commands that need the result backend.
BACKEND_COMMANDS: dict[str, tuple[str, ...]] = {
    "result": ("result", "task_1"),
    "revoke": ("revoke", "task_1"),
    "groups": ("groups", "group_1"),
    "worker": ("worker", "shop"),
}
FAULTS = ("password", "unreachable", "database")
Broken = Callable[[str], str]


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port at which no server listens, for as long as the tests run."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def guarded_redis() -> Iterator[RedisServer]:
    with RedisServer(args=("--requirepass", "sesame")) as server:
        yield server


def _with(url: str, *, login: str | None = None, port: int | None = None, path: str | None = None) -> str:
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    name = host.rpartition(":")[0] if port is not None else host
    netloc = f"{userinfo if login is None else login}@{name}{f':{port}' if port is not None else ''}"
    return urlunsplit(parts._replace(netloc=netloc.lstrip("@"), path=parts.path if path is None else path))


@pytest.fixture
def redis_broken(guarded_redis: RedisServer, closed_port: int) -> Broken:
    url = guarded_redis.url
    return {
        "password": _with(url, login=":hunter2"),
        "unreachable": _with(url, login=":hunter2", port=closed_port),
        "database": _with(url, login=":sesame", path="/99"),
    }.__getitem__


@pytest.fixture
def rabbitmq_broken(rabbitmq_server: RabbitServer, closed_port: int) -> Broken:
    url = rabbitmq_server.url_of("/")
    return {
        "password": _with(url, login="guest:hunter2"),
        "unreachable": _with(url, login="guest:hunter2", port=closed_port),
        "database": rabbitmq_server.url_of("no_such_vhost"),
    }.__getitem__


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("GEARMESH_PUBLISH_TIMEOUT", "0")
    (tmp_path / "shop.py").write_text("from gearmesh import App\napp = App()\n")

    def run(words: tuple[str, ...], broker: str, backend: str) -> Result:
        sys.modules.pop("shop", None)
        return CliRunner().invoke(main, words, env={"BROKER": broker, "RESULT_BACKEND": backend})

    yield run
    sys.modules.pop("shop", None)


def one_line(result: Result, url: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not re.match(r"\d{4}-|using broker", line)]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert (urlsplit(url).hostname or "") in lines[0] or "login of the result backend" in lines[0]
    assert "hunter2" not in result.output
    assert "sesame" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("words", BROKER_COMMANDS.values(), ids=BROKER_COMMANDS)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_broker(
    request: pytest.FixtureRequest,
    call: Callable[..., Result],
    kind: str,
    words: tuple[str, ...],
    fault: str,
) -> None:
    url = request.getfixturevalue(f"{kind}_broken")(fault)
    one_line(call(words, url, "memory://x"), url)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("words", BACKEND_COMMANDS.values(), ids=BACKEND_COMMANDS)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_backend(
    request: pytest.FixtureRequest,
    call: Callable[..., Result],
    redis_url: str,
    kind: str,
    words: tuple[str, ...],
    fault: str,
) -> None:
    url = request.getfixturevalue(f"{kind}_broken")(fault)
    result = call(words, redis_url, url)
    if (kind, words[0]) == ("rabbitmq", "revoke"):
        assert result.stderr == "error: tasks can't be revoked: this result backend keeps no revocations\n"
        return
    one_line(result, url)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_doctor(
    request: pytest.FixtureRequest, call: Callable[..., Result], redis_url: str, kind: str, fault: str
) -> None:
    """The doctor goes on, and reports the server as a problem."""
    url = request.getfixturevalue(f"{kind}_broken")(fault)
    for servers in ((url, redis_url), (redis_url, url)):
        result = call(("doctor",), *servers)
        assert result.exit_code == 1, (result.output, result.exception)
        assert "PROBLEM" in result.stdout
        assert "hunter2" not in result.output
        assert "sesame" not in result.output
        assert "Traceback" not in result.output
