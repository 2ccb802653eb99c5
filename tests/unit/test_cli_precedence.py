"""An option that is typed wins over the app, for every command that takes both."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from tests.support.servers import RedisServer

from gearmesh import App
from gearmesh.cli import main
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

COMMANDS: dict[str, tuple[str, ...]] = {
    "queues": ("queues", "--json"),
    "pending": ("pending", "--json"),
    "delayed": ("delayed", "--json"),
    "dead list": ("dead", "list"),
    "purge": ("purge", "--yes", "--delayed", "--json"),
    "send": ("send", "named", "--unregistered"),
    "config show": ("config", "show", "--json"),
    "doctor": ("doctor", "--json"),
}


@pytest.fixture
def servers(make_redis: Callable[..., RedisServer], tmp_path: Path) -> tuple[str, str]:
    """The broker that the app's code names, and another one; each has a message that waits and one that is delayed."""
    named, typed = make_redis().url, make_redis().url
    (tmp_path / "shop.py").write_text(
        f"from gearmesh import App\napp = App({named!r}, {named!r})\nother = App({named!r}, {named!r})\n"
    )
    for url in (named, typed):
        with App(url, url) as app:
            app.remote("waiting").delay()
            app.remote("later").apply_async(countdown=3600)
    return named, typed


def run(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gearmesh", *words],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def waiting(url: str) -> list[str]:
    with redis.Redis.from_url(url) as client:
        bodies = [*client.lrange("machinery_tasks", 0, -1), *client.zrange("delayed_tasks", 0, -1)]  # type: ignore[misc]
    return sorted(json.loads(body)["Name"] for body in bodies)


@pytest.mark.parametrize("env", [{}, {"BROKER": "redis://127.0.0.1:1/0"}], ids=["", "environment"])
@pytest.mark.parametrize("spec", ["shop", "shop:app", "shop:other"])
def test_purge_deletes_from_the_broker_that_was_typed(
    servers: tuple[str, str], tmp_path: Path, spec: str, env: dict[str, str]
) -> None:
    named, typed = servers
    done = run(tmp_path, *COMMANDS["purge"], "-A", spec, "--broker", typed, **env)
    assert done.returncode == 0, done.stderr
    assert waiting(typed) == []
    assert waiting(named) == ["later", "waiting"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_typed_server_wins(servers: tuple[str, str], tmp_path: Path, command: str) -> None:
    """The app's own broker is unreachable: a command that used it would fail."""
    _, typed = servers
    (tmp_path / "away.py").write_text(
        "from gearmesh import App\napp = App('redis://127.0.0.1:1/0', 'redis://127.0.0.1:1/0', publish_timeout=0)\n"
    )
    done = run(tmp_path, *COMMANDS[command], "-A", "away", "--broker", typed, "--backend", typed)
    assert done.returncode == (1 if command == "doctor" else 0), (
        "the doctor reports that the queue has no consumer"
    )
    assert "127.0.0.1:1/" not in done.stdout + done.stderr
    without = run(tmp_path, *COMMANDS[command], "-A", "away")
    assert "127.0.0.1:1/" in without.stdout + without.stderr


def test_the_origin_of_a_typed_value_is_the_command_line(servers: tuple[str, str], tmp_path: Path) -> None:
    _, typed = servers
    done = run(tmp_path, "config", "show", "--json", "-A", "shop", "--broker", typed)
    origins = {row["setting"]: row["origin"] for row in json.loads(done.stdout)}
    assert origins["broker"] == "command line"
    assert origins["backend"] == "code"


#: Commands that read one queue; the words before it.
QUEUE_COMMANDS: dict[str, tuple[str, ...]] = {
    "queues": ("queues", "--json"),
    "pending": ("pending", "--json"),
    "delayed": ("delayed", "--json"),
    "parked": ("parked", "--json"),
    "dead list": ("dead", "list", "--json"),
    "purge": ("purge", "--yes", "--json"),
}


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Run a command in this process, in a folder with shop.py and bakery.py; quick enough for whole tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("BROKER", "RESULT_BACKEND", "DEFAULT_QUEUE", "GEARMESH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for module in ("shop", "bakery"):
        (tmp_path / f"{module}.py").write_text(
            "from gearmesh import App\n"
            f"app = App('memory://{module}', 'memory://{module}', default_queue='{module}_queue')\n"
            "unset = App()\n"
            "@app.task\ndef add(a: int, b: int) -> int:\n    return a + b\n"
        )

    def run(*words: str, **env: str) -> Result:
        for module in ("shop", "bakery"):
            sys.modules.pop(module, None)
        return CliRunner().invoke(main, words, env=env)

    yield run
    for module in ("shop", "bakery"):
        sys.modules.pop(module, None)


def shown(result: Result) -> str:
    """The command's output without UUIDs, which differ."""
    return re.sub(r"task_[0-9a-f-]+", "UUID", result.output)


ANY_COMMANDS: dict[str, tuple[str, ...]] = {
    **QUEUE_COMMANDS,
    "config show": ("config", "show", "--json"),
    "doctor": ("doctor", "--json"),
    "tasks": ("tasks", "--json"),
    "periodic": ("periodic", "--json"),
}
WITH_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "send": (("send",), ("add", "int64:1", "int64:2")),
    "result": (("result",), ("task_1",)),
    "revoke": (("revoke",), ("task_1",)),
    "groups": (("groups",), ("group_1",)),
    "dead show": (("dead", "show"), ("abc",)),
    "dead retry": (("dead", "retry"), ("abc",)),
    "dead drop": (("dead", "drop", "--yes"), ("abc",)),
    "purge": (("purge", "--yes"), ("a",)),
    "queues": (("queues", "--json"), ("a", "b")),
}


@pytest.mark.parametrize(
    ("words", "arguments"),
    [*((words, ()) for words in ANY_COMMANDS.values()), *WITH_WORDS.values()],
    ids=[*ANY_COMMANDS, *(f"{name} …" for name in WITH_WORDS)],
)
def test_the_app_is_an_argument_or_an_option_everywhere(
    inside: Callable[..., Result], words: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    expected = inside(*words, *arguments, "-A", "shop:app")
    assert not re.search("no (broker|backend|app):|Usage:|Traceback", expected.output)
    for way in (
        (*words, "shop:app", *arguments),
        (*words, *arguments, "-A", "shop"),
        ("-A", "shop", *words, *arguments),
        (*words, "shop:app", *arguments, "-A", "shop"),
    ):
        result = inside(*way)
        assert (result.exit_code, shown(result)) == (expected.exit_code, shown(expected)), way
    for way in (
        (*words, "shop:app", *arguments, "-A", "bakery"),
        ("-A", "bakery", *words, "shop:app", *arguments),
        ("-A", "bakery", *words, *arguments, "-A", "shop"),
    ):
        result = inside(*way)
        assert result.exit_code == 2, way
        assert "give one of them" in result.stderr
        assert "shop" in result.stderr
        assert "bakery" in result.stderr


@pytest.mark.parametrize("words", QUEUE_COMMANDS.values(), ids=QUEUE_COMMANDS)
def test_a_queue_that_is_typed_wins(inside: Callable[..., Result], words: tuple[str, ...]) -> None:
    """The code's queue wins over the environment's, a typed one over both; two that differ are an error."""
    with App("memory://shop") as app, open_connection("memory://shop"):
        for queue in ("shop_queue", "typed", "env"):
            inside("purge", "--yes", "--delayed", "--queue", queue, "-A", "shop")
            app.remote(f"for_{queue}").apply_async(queue=queue)
            app.remote(f"for_{queue}").apply_async(queue=queue, countdown=3600)
        env = {"DEFAULT_QUEUE": "env"}
        by_option = inside(*words, "-A", "shop", "--queue", "typed", **env)
        assert by_option.exit_code == 0, by_option.output
        assert "shop_queue" not in by_option.output
        assert "env" not in by_option.output
        if words[0] == "purge":
            assert json.loads(by_option.stdout) == {"queue": "typed", "pending": 1}
        if words[0] not in ("queues", "parked"):  # these take several
            both = inside(*words, "shop:app", "typed", "--queue", "other")
            assert both.exit_code == 2
            assert "the queue is 'typed' and, by --queue, 'other': give one of them" in both.stderr
        default = inside(*words, "-A", "shop", **env)
        assert default.exit_code == 0, default.output
        if words[0] == "purge":
            assert json.loads(default.stdout) == {"queue": "shop_queue", "pending": 1}
        if words[0] == "pending":
            queues = [row["queue"] for row in json.loads(default.stdout)]
            assert queues == sorted(queues), "without a queue, those of all"
            assert {"shop_queue", "env", "typed"} <= set(queues)


def test_a_queue_may_look_like_an_app(inside: Callable[..., Result]) -> None:
    for queue in ("orders:high", "queue:app", "shop.tasks:x:y"):
        result = inside("queues", queue, "-A", "shop", "--json")
        assert [row["queue"] for row in json.loads(result.stdout)] == [queue]
    result = inside("queues", "--queue", "shop:app", "-A", "bakery", "--json")
    assert [row["queue"] for row in json.loads(result.stdout)] == ["shop:app"]


def test_a_task_may_look_like_an_app(inside: Callable[..., Result]) -> None:
    sent = inside("send", "shop:app", "string:x", "--broker", "memory://other", "--json")
    assert sent.exit_code == 0, sent.output
    (pending,) = json.loads(inside("pending", "--broker", "memory://other", "--json").stdout)
    assert pending["signature"]["Name"] == "shop:app"
    inside("purge", "--yes", "--broker", "memory://other")


@pytest.mark.parametrize("setting", ["broker", "backend", "queue"])
def test_config_show_has_the_typed_value(inside: Callable[..., Result], setting: str) -> None:
    value = "typed" if setting == "queue" else "memory://typed"
    env = {"BROKER": "memory://env", "RESULT_BACKEND": "memory://env", "DEFAULT_QUEUE": "env"}
    path = "default_queue" if setting == "queue" else setting
    for spec, origin in (
        ("shop", "code"),
        ("shop:unset", f"environment {'RESULT_BACKEND' if path == 'backend' else path.upper()}"),
    ):
        rows = inside("config", "show", "--json", "-A", spec, f"--{setting}", value, **env)
        found = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(rows.stdout)}
        assert found[path] == (value, "command line")
        rows = inside("config", "show", "--json", "-A", spec, **env)
        found = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(rows.stdout)}
        assert found[path][1] == origin


@pytest.mark.parametrize("spec", ["shop", "shop:unset"])
def test_a_file_beside_an_app(inside: Callable[..., Result], tmp_path: Path, spec: str) -> None:
    """A file that is typed wins over code; one that the environment names does not."""
    (tmp_path / "m.yml").write_text("broker: memory://file\ndefault_queue: file\n")

    def found(*words: str, **env: str) -> dict[str, str]:
        result = inside("config", "show", "--json", "-A", spec, *words, **env)
        return {row["setting"]: row["value"] for row in json.loads(result.stdout)}

    typed = found("--config", "m.yml")
    assert (typed["broker"], typed["default_queue"]) == ("memory://file", "file")
    both = found("--config", "m.yml", "--broker", "memory://typed", "--queue", "typed")
    assert (both["broker"], both["default_queue"]) == ("memory://typed", "typed")
    named = found(GEARMESH_CONFIG="m.yml")
    expected = ("memory://file", "file") if spec == "shop:unset" else ("memory://shop", "shop_queue")
    assert (named["broker"], named["default_queue"]) == expected


def test_an_environment_that_outvotes_a_typed_file_is_named(
    inside: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "m.yml").write_text("broker: redis://u:hunter2@file/0\ndefault_queue: same\n")
    env = {"BROKER": "memory://env", "DEFAULT_QUEUE": "same"}
    result = inside("queues", "--config", "m.yml", "--json", **env)
    assert result.exit_code == 0
    assert (
        result.stderr == "note: broker is 'memory://env' (environment BROKER), not the one in m.yml line 1\n"
    )


def test_an_app_without_a_broker(inside: Callable[..., Result]) -> None:
    sent = inside("send", "x", "--unregistered", "-A", "shop:unset", "--broker", "memory://typed")
    assert sent.exit_code == 0, sent.output
    inside("purge", "--yes", "--broker", "memory://typed")
    for words in (("send", "x", "-A", "shop:unset"), ("worker", "shop:unset"), ("scheduler", "shop:unset")):
        result = inside(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith(
            "error: app 'shop:unset' has no broker: name one in App(…) or in BROKER"
        )
    for words in (("queues",), ("worker", "shop:unset")):
        result = inside(*words, GEARMESH_BROKER="redis://u:hunter2@h")
        assert result.exit_code == 2
        assert result.stderr.count("GEARMESH_BROKER (environment; do you mean BROKER?)\n") == 1, result.stderr
    assert inside("tasks", "shop:unset", "--json").stdout.strip() == "[]"
    assert inside("result", "task_1", "-A", "shop:unset", "--backend", "memory://typed").exit_code == 1


@pytest.mark.parametrize("command", ["worker", "scheduler", "dev"])
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("memory://x", "broker memory://x keeps messages in the memory of one process"),
        ("eager", "broker eager runs each task in the process that sends it"),
    ],
)
def test_brokers_that_end_with_their_process(
    inside: Callable[..., Result], command: str, url: str, text: str
) -> None:
    result = inside(command, "shop:unset", BROKER=url)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "environment BROKER" in result.stderr
    typed = inside(command, "shop", "--broker", url)
    assert text in typed.stderr
    assert "the command line" in typed.stderr


def test_a_worker_with_a_typed_broker(servers: tuple[str, str], tmp_path: Path) -> None:
    """Its child process and its scheduler use the typed broker, too."""
    named, typed = servers
    with (tmp_path / "shop.py").open("a") as file:
        file.write("@app.task\ndef waiting() -> str:\n    return 'done'\n")
        file.write("app.periodic('@every 1s', waiting.s(), name='tick')\n")
    log = (tmp_path / "out.log").open("w")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gearmesh", "worker", "shop", "--broker", typed, "--backend", typed),
            *("--with-scheduler", "-c", "1"),
        ],
        cwd=tmp_path,
        stderr=log,
    )
    try:
        with redis.Redis.from_url(typed) as client:

            def succeeded() -> int:
                return sum(b'"SUCCESS"' in (client.get(key) or b"") for key in client.scan_iter("task_*"))

            eventually(lambda: succeeded() >= 2, timeout=40)
        assert waiting(named) == ["later", "waiting"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        log.close()
    assert typed in (tmp_path / "out.log").read_text()
    assert named not in (tmp_path / "out.log").read_text()


@pytest.mark.parametrize("command", ["worker", "scheduler", "dev", "periodic", "tasks"])
def test_the_app_is_an_argument_or_an_option(
    inside: Callable[..., Result], tmp_path: Path, command: str
) -> None:
    (tmp_path / "shop.py").write_text("app = 3\n")
    for words in (
        [command, "shop"],
        [command, "-A", "shop"],
        ["-A", "shop", command],
        [command, "shop", "-A", "shop:app"],
    ):
        done = inside(*words)
        assert done.exit_code == 2
        assert re.fullmatch(
            r"error: app 'shop(:app)?' is of the type int, expected a gearmesh App\n", done.stderr
        )
    assert "no app: give MODULE:APP" in inside(command).stderr
    assert "give one of them" in inside(command, "shop", "-A", "bakery").stderr


@pytest.mark.parametrize("flag", ["-l", "--loglevel", "--log-level"])
def test_names_of_the_log_level(tmp_path: Path, flag: str) -> None:
    (tmp_path / "shop.py").write_text("app = 3\n")
    assert "expected a gearmesh App" in run(tmp_path, "worker", "shop", flag, "info").stderr


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("from gearmesh import nothing", "ImportError: cannot import name 'nothing' from 'gearmesh'"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "queues"])
def test_an_error_in_the_users_module_shows_the_users_frames(
    tmp_path: Path, command: str, code: str, last: str
) -> None:
    (tmp_path / "helper.py").write_text(f"{code}\n")
    (tmp_path / "shop.py").write_text("import helper\n")
    words = ("shop",) if command == "worker" else ("-A", "shop")
    done = run(tmp_path, command, *words)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "error: app 'shop' cannot be imported:"
    assert lines[-1].startswith(last)
    files = [line.split('"')[1] for line in lines if line.lstrip().startswith("File ")]
    assert [Path(file).name for file in files] == ["shop.py", "helper.py"]


def test_a_command_that_is_spelt_wrong(tmp_path: Path) -> None:
    done = run(tmp_path, "wroker", "shop")
    assert done.returncode == 2
    assert "No such command 'wroker'. Did you mean 'worker'?" in done.stderr
