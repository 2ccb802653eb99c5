"""Reads the tasks that a Go program registers, with Go's own parser."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import msgspec

from gearmesh.errors import ConfigError
from gearmesh.stubs.manifest import TaskSpec, of_json

__all__ = ["Problem", "scan"]

#: Seconds for compiling the reader the first time, and reading a large repository.
SCAN_TIMEOUT_S: Final = 300.0


class Problem(msgspec.Struct, frozen=True):
    """A registration that could not be read.

    Attributes:
        at: file and line.
        text: the reason.
    """

    at: str
    text: str


class _Found(msgspec.Struct):
    tasks: msgspec.Raw
    problems: list[Problem]


def scan(folder: Path) -> tuple[list[TaskSpec], list[Problem]]:
    """Read all ``RegisterTask`` and ``RegisterTasks`` calls in a folder of Go code, tests and vendored code left out.

    Raises:
        ConfigError: Go or the folder does not exist, or the code cannot be parsed.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder, expected one with Go code")
    go = os.environ.get("GEARMESH_GO") or shutil.which("go")
    if go is None:
        raise ConfigError(
            "--from-go needs Go, and there is no 'go' on PATH; name it with GEARMESH_GO, or write a manifest "
            "where Go is: see docs/howto/stubs.md"
        )
    environment = {**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    with as_file(files(__package__) / "scan" / "main.go") as program:
        try:
            done = subprocess.run(
                [go, "run", str(program), str(folder)],
                capture_output=True,
                env=environment,
                timeout=SCAN_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConfigError(f"{go} cannot read {folder}: {exc}") from None
    if done.returncode:
        raise ConfigError(
            f"{go} cannot read {folder}: {done.stderr.decode(errors='replace').strip()[-2000:]}"
        )
    found = msgspec.json.decode(done.stdout, type=_Found)
    return of_json(bytes(found.tasks), str(folder)), found.problems
