"""Every example runs on a real Redis, with a worker beside it, and prints the expected output."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support.servers import ElasticMQServer, PubSubServer, RedisServer, ServerMissing

from gearmesh.worker import Worker

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Example modules, which are called the same in every example.
MODULES = ("app", "go_stand_in")

Example = Callable[..., None]


@pytest.fixture
def redis_cli() -> None:
    """Skip tests of scripts that call ``redis-cli`` if it is missing; under CI fail them."""
    if shutil.which("redis-cli") is None:
        missing(ServerMissing("no redis-cli: apt-get install redis-tools"))


@pytest.fixture
def start(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """Go into an example's folder and start workers for its modules' apps."""
    with ExitStack() as stack:

        def enter(name: str, *modules: str) -> None:
            monkeypatch.setenv("REDIS_URL", redis_url)
            monkeypatch.chdir(EXAMPLES / name)
            monkeypatch.syspath_prepend(str(EXAMPLES / name))
            for module in modules:
                sys.modules.pop(module, None)
                app = import_module(module).app
                stack.enter_context(app)
                stack.enter_context(Worker(app, concurrency=4))

        yield enter
    for module in MODULES:
        sys.modules.pop(module, None)


def printed(script: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a script of the current folder prints."""
    runpy.run_path(script, run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_quickstart(start: Example, capsys: pytest.CaptureFixture[str]) -> None:
    start("quickstart", "app")
    assert printed("send.py", capsys) == [
        "add: 42",
        "state: SUCCESS",
        "typed: int64 42",
        "shout: ('HELLO!!!', 8)",
        "refused: task 'shout', argument 2 ('times') as Uint8: 300 is not uint8: out of range, 0 to 255",
        "a thousand: 999000",
    ]


def test_workflows(start: Example, capsys: pytest.CaptureFixture[str]) -> None:
    start("workflows", "app")
    assert printed("send.py", capsys) == [
        "chain: 1800",
        "si: the shop is tidy",
        "group: ['[cup]', '[pan]', '[plate]']",
        "chord: Main Street 1: [cup] [pan]",
        "nested: 198000",
        "failed: pack - an empty box",
        "on_error: order 7: an empty box",
    ]


def test_asyncio_client(start: Example, capsys: pytest.CaptureFixture[str]) -> None:
    start("asyncio_client", "app")
    assert printed("client.py", capsys) == [
        "one: page 1",
        "done: page 1",
        "done: page 3",
        "done: page 6",
        "book: page 2, page 1",
        "not yet, but later: page 8",
    ]


def test_mixed_go(start: Example, capsys: pytest.CaptureFixture[str]) -> None:
    start("mixed_go", "app", "go_stand_in")
    assert printed("send.py", capsys) == [
        "Go resized it to 50 bytes",
        "refused here, where Go would wrap it: task 'resize', argument 2 as uint16: 70000 is not uint16: "
        "out of range, 0 to 65535",
        "Go, then Python: ('untitled (GIF)', 10)",
    ]


@pytest.mark.usefixtures("redis_cli")
def test_as_go_does(start: Example, redis_url: str) -> None:
    start("mixed_go", "app")
    done = subprocess.run(
        ["sh", "as_go_does.sh"],
        env={**os.environ, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert state["TaskName"] == "describe"
    assert state["Results"] == [
        {"Type": "string", "Value": "a picture (GIF)"},
        {"Type": "int64", "Value": 6},
    ]


@pytest.mark.usefixtures("redis_cli")
def test_as_go_does_without_the_password(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(args=["--requirepass", "sesame"])
    done = subprocess.run(
        ["sh", str(EXAMPLES / "mixed_go" / "as_go_does.sh")],
        env={**os.environ, "REDIS_URL": server.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Redis answers: NOAUTH" in done.stderr


def test_gcp(
    pubsub_emulator: PubSubServer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    start: Example,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example runs with the environment of its README, on the tests' own emulator."""
    readme = (EXAMPLES / "gcp" / "README.md").read_text("utf-8")
    exported = dict(
        re.findall(r"(\w+)=(\S+)", " ".join(re.findall("^export (.*)", readme, re.MULTILINE)[:3]))
    )
    exported |= {"PUBSUB_EMULATOR_HOST": pubsub_emulator.address, "RESULT_BACKEND": redis_url}
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    assert exported["BROKER"].startswith("gcppubsub://demo-project/")
    start("gcp", "app")
    assert printed("send.py", capsys) == ["2 + 3 = 5", "40 + 2 = 42, 3 s later"]


@pytest.mark.parametrize("results", ["redis", "dynamodb"])
def test_aws(
    results: str,
    elasticmq: ElasticMQServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    start: Example,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example runs with the environment of its README, on the tests' own emulators."""
    readme = (EXAMPLES / "aws" / "README.md").read_text("utf-8")
    exported = dict(
        re.findall(r"(\w+)=(\S+)", " ".join(re.findall("^export (.*)", readme, re.MULTILINE)[:4]))
    )
    assert exported["BROKER"].startswith("http://127.0.0.1:")
    exported["BROKER"] = elasticmq.url
    if results == "redis":
        exported["RESULT_BACKEND"] = request.getfixturevalue("redis_url")
    else:
        exported["RESULT_BACKEND"] = request.getfixturevalue("dynamodb_local").endpoint
        init = f"gearmesh dynamodb init --backend {exported['RESULT_BACKEND']}"
        subprocess.run(
            [sys.executable, "-m", *init.split()], env=os.environ | exported, check=True, timeout=60
        )
        capsys.readouterr()
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    start("aws", "app")
    assert printed("send.py", capsys) == re.search("```\n(2 [^`]*)```", readme)[1].splitlines()  # type: ignore[index]


def test_every_example_is_listed_and_tested() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if (path / "README.md").exists()}
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"[{name}]({name}/README.md)" in listed for name in folders)
    assert folders == {
        "quickstart",
        "workflows",
        "asyncio_client",
        "mixed_go",
        "celery_app",
        "gcp",
        "aws",
        "stubs",
        "migration",  # tests/unit/shadow/test_migration_example.py
        "testing",  # tests/unit/testing/test_plugin.py
    }
