"""Help, exit codes and completion of the command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner
from tests.support.servers import RedisServer

from gearmesh.cli import main
from gearmesh.cli.root import COMMANDS
from gearmesh.testing.waiting import eventually


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand by the words that call it."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {key}", each) for key, each in command.commands.items())


ALL = dict(commands())


def test_the_root_s_help_has_headings_and_whole_lines() -> None:
    text = CliRunner().invoke(main, ["--help"], env={"COLUMNS": "80"}).output
    found = re.findall(r"^(Run|Look|Change|Set up):$", text, re.MULTILINE)
    assert found == ["Run", "Look", "Change", "Set up"]
    assert "..." not in text.partition("Options:")[2], "nothing is cut off"
    assert max(map(len, text.splitlines())) <= 80
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name
    assert "An option on the command line wins over the app's code" in text
    for code in (0, 1, 2, 3, 130):
        assert re.search(rf"^ +{code}  \S", text, re.MULTILINE), code


@pytest.mark.parametrize("words", ALL)
def test_help_of_each_command(words: str) -> None:
    command = ALL[words]
    assert len(COMMANDS.get(words) or command.get_short_help_str(1000)) < 60
    done = CliRunner().invoke(main, [*words.split(), "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
    names = {option for param in command.params for option in param.opts}
    if words not in ("config", "dead", "demo", "dynamodb", "stubs", "stubs python", "workers", "healthcheck"):
        assert {"-A", "--app", "--config"} <= names
        assert "[MODULE:APP]" in done.output
    if "--log-level" in names:
        assert {"-l", "--loglevel"} <= names


def test_dev_takes_the_options_of_worker() -> None:
    def options(name: str) -> set[str]:
        return {option for param in ALL[name].params for option in param.opts}

    assert options("worker") - options("dev") == {"--with-scheduler", "--autoreload"}
    assert options("dev") <= options("worker")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["pack.orders:late", "pack:app", "shop:app", "shop:second"]),
        ("shop:", ["shop:app", "shop:second"]),
        ("pack.", ["pack.orders:late"]),
        ("x", []),
    ],
)
@pytest.mark.parametrize("words", ["worker", "queues -A", "-A", "queues", "result"])
def test_completion_of_apps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, typed: str, found: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text("app: App = App()\nsecond = gearmesh.App('x')\nnone = Apps()\n1 / 0\n")
    (tmp_path / "broken.py").write_bytes(b"\xff(")
    for name, text in (("pack/__init__.py", "app = App()"), ("pack/orders.py", "late = App(\n)")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "hidden.py").write_text("app = App()")
    line = ["gearmesh", *words.split(), typed]
    done = CliRunner().invoke(
        main,
        [],
        prog_name="gearmesh",
        complete_var="_GEARMESH_COMPLETE",
        env={
            "_GEARMESH_COMPLETE": "fish_complete",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": typed,
        },
    )
    assert sorted(each.partition(",")[2] for each in done.output.split()) == found


def test_ctrl_c_is_130(redis_url: str, tmp_path: Path) -> None:
    """While a command asks a question."""
    words = [sys.executable, "-m", "gearmesh", "purge", "a", "--broker", redis_url]
    with (
        (tmp_path / "err").open("wb") as err,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=err, stderr=err) as process,
    ):
        eventually(lambda: "Continue?" in (tmp_path / "err").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert "Aborted" not in (tmp_path / "err").read_text()


def test_ctrl_c_while_a_server_is_silent(make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    server = make_redis()
    words = [sys.executable, "-m", "gearmesh", "queues", "--broker", server.url]
    server.pause()
    try:
        with (tmp_path / "err").open("wb") as err, subprocess.Popen(words, stdout=err, stderr=err) as process:
            connections = psutil.Process(process.pid).net_connections
            eventually(
                lambda: any(each.raddr and each.raddr.port == server.port for each in connections("tcp"))
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    finally:
        server.resume()
    assert (tmp_path / "err").read_text().strip() == ""


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_no_is_1(answer: str) -> None:
    done = CliRunner().invoke(main, ["purge", "a", "--broker", "memory://asked"], input=answer)
    assert done.exit_code == 1
    assert "Aborted!" in done.stderr
