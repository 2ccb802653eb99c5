"""The tests follow docs/start and the command line's page: they write files, run commands and compare outputs.

A Python block behind ``<!-- file: PATH -->`` is a file, and so is a comment ``<!-- file: PATH …`` of several lines.
In a ``console`` block a line that begins with ``$`` is a command, and the lines below it are its output on a terminal
of 100 columns. Ids, times and durations may differ; a line ``…`` stands for any lines; ``<!-- not run: REASON -->``
leaves a block out. The servers are a Redis, and a worker where the page has an app ``shop.app``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from tests.support.pages import ROOT, page_path
from tests.unit.terminal import on_terminal

from gearmesh.testing.waiting import eventually

pytestmark = pytest.mark.timeout(600)  # commands of a busy machine

PAGES = ("getting-started.md", "go.md", "cli.md")
_FILE = re.compile(
    r"^<!-- file: (?P<path>\S+)(?: -->\n```python)?\n(?P<text>.*?)^(?:```|-->)$", re.MULTILINE | re.DOTALL
)
_CONSOLE = re.compile(r"^(?P<before>[^\n]*)\n```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
#: The progress of ``--wait``, which is gone from the screen when the command ends.
_PROGRESS = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h(?:\r?\x1b\[1A\x1b\[2K|\r?\n)?", re.DOTALL)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: The texts that differ from run to run, and the word that the comparison puts in their place.
_VARYING = [
    (re.compile(r"(task|group|chord)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), r"\1_UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\b(now|\d+ \w+ ago) \(TIME\)"), "AGO (TIME)"),
    (re.compile(r"\b[\d.]+ (µs|ms|s|min)\b"), "DURATION"),
    (re.compile(r"python -m gearmesh"), "gearmesh"),
    (re.compile(r"^\(integer\) ", re.MULTILINE), ""),  # redis-cli says so on a terminal
]


class Command(NamedTuple):
    """A command of a page, the line on which it stands, and the output that the page shows."""

    line: int
    command: str
    output: str


def commands(text: str) -> Iterator[Command]:
    for match in _CONSOLE.finditer(text):
        if match["before"].startswith("<!-- not run: "):
            continue
        line = text.count("\n", 0, match.start("text")) + 1
        for part in re.split(r"^\$ ", match["text"], flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Command(line, command, output)
            line += part.count("\n")


def plain(text: str) -> str:
    """Return the text without the parts that differ between runs."""
    lines = _ESCAPE.sub("", _PROGRESS.sub("", text)).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = "\n".join(line.rstrip() for line in lines).strip()
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text


def matches(shown: str, got: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in plain(shown).split("\n")
    )
    return re.fullmatch(pattern, plain(got) + "\n") is not None


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page_path(page).read_text("utf-8")
    if "$ redis-cli" in text and not shutil.which("redis-cli") and os.environ.get("CI") != "true":
        pytest.skip("no redis-cli: apt-get install redis-tools")
    for match in _FILE.finditer(text):
        path = tmp_path / match["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["text"], "utf-8")
    for name, value in (("BROKER", redis_url), ("RESULT_BACKEND", redis_url), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(ROOT / "compat"), os.environ.get("PYTHONPATH", "")))
    )
    with worker(tmp_path, redis_url) if (tmp_path / "shop").is_dir() else nullcontext():
        for command in commands(text):
            got = shown_by(command.command, tmp_path)
            assert matches(command.output, got), (
                f"{page}, line {command.line}: $ {command.command}\n{plain(got)}"
            )


@contextmanager
def worker(folder: Path, redis_url: str) -> Iterator[None]:
    """A worker of ``shop.app`` that consumes."""
    (folder / "shop" / "__init__.py").touch()
    command = [sys.executable, "-m", "gearmesh", "worker", "shop.app"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        with redis.Redis.from_url(redis_url) as client:
            assert eventually(lambda: client.keys("gearmesh:*:consumers"), timeout=60)
        yield
    finally:
        process.terminate()
        process.wait(60)


def shown_by(command: str, folder: Path) -> str:
    """The screen that a command leaves. ``gearmesh`` has a terminal, everything else a shell."""
    if match := re.match(r"(?P<variables>(?:\w+=\S+ )*)gearmesh ", command):
        env = dict(each.split("=", 1) for each in match["variables"].split())
        return on_terminal(*shlex.split(command[match.end() :]), columns=100, folder=folder, env=env).raw
    command = command.replace("| gearmesh", f"| {sys.executable} -m gearmesh")
    command = re.sub(r"^python ", f"{sys.executable} ", command)
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_it_compares() -> None:
    assert matches("took  12 ms\n…\nend", "took  1.3 s\nany\nlines\nend\n")
    assert not matches("took  12 ms\nend", "took  12 ms\nmore\nend")
