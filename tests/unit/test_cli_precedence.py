"""An option that is typed wins over the app, for every command that takes both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gearmesh import App
from gearmesh.testing.servers import RedisServer

COMMANDS: dict[str, tuple[str, ...]] = {
    "queues": ("queues", "--json"),
    "pending": ("pending", "--json"),
    "delayed": ("delayed", "--json"),
    "dead list": ("dead", "list"),
    "purge": ("purge", "--yes", "--delayed", "--json"),
    "send": ("send", "named"),
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
    """The app's own broker is away: a command that used it would fail."""
    _, typed = servers
    (tmp_path / "away.py").write_text(
        "from gearmesh import App\napp = App('redis://127.0.0.1:1/0', 'redis://127.0.0.1:1/0', publish_timeout=0)\n"
    )
    done = run(tmp_path, *COMMANDS[command], "-A", "away", "--broker", typed, "--backend", typed)
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:1/" not in done.stdout + done.stderr
    without = run(tmp_path, *COMMANDS[command], "-A", "away")
    assert "127.0.0.1:1/" in without.stdout + without.stderr


def test_the_origin_of_what_was_typed(servers: tuple[str, str], tmp_path: Path) -> None:
    _, typed = servers
    done = run(tmp_path, "config", "show", "--json", "-A", "shop", "--broker", typed)
    origins = {row["setting"]: row["origin"] for row in json.loads(done.stdout)}
    assert origins["broker"] == "command line"
    assert origins["backend"] == "keyword", "of App()"


@pytest.mark.parametrize("command", ["worker", "scheduler", "dev", "periodic"])
def test_the_app_is_an_argument_or_an_option(tmp_path: Path, command: str) -> None:
    (tmp_path / "shop.py").write_text("app = 3\n")
    for words in (["shop"], ["-A", "shop"], ["shop", "-A", "shop"]):
        done = run(tmp_path, command, *words)
        assert done.returncode == 2
        assert done.stderr.strip() == "error: app 'shop' is a int, expected a gearmesh App"
    assert "no app: give MODULE:APP" in run(tmp_path, command).stderr
    assert "give one of them" in run(tmp_path, command, "shop", "-A", "bakery").stderr


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
