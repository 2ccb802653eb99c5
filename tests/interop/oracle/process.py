"""Builds the oracle once for each version of its source, and talks to it in batches."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import ServerMissing
from tests.support.servers.jars import cache_folder
from tests.support.servers.pubsub import find_go

__all__ = ["Answer", "Case", "Oracle", "build"]

_SOURCE = Path(__file__).parent


class Case(NamedTuple):
    """One request: ``S``, ``T``, ``G`` for a signature, state or group; ``A`` for an argument (type, NUL, JSON); ``s``,
    ``d``, ``f`` for a text, a float64 and a float32 to be written; ``C`` for a cron spec (spec, NUL, zone, NUL, unix
    seconds). The oracles of ``stores`` and ``items`` have verbs of their own, see ``stored.py`` and
    ``made_items.py``."""

    verb: bytes
    data: bytes


class Answer(NamedTuple):
    """``kind`` is ``=`` for a value, ``-`` for an error, ``~`` for a changed value, ``!`` for a panic."""

    kind: bytes
    text: bytes


def build(folder: str = ".") -> str:
    """The path of a program, which is built once for each version of its source.

    Args:
        folder: of the program; ``cron`` needs robfig/cron, ``stores`` MongoDB's driver, ``items`` a part of the AWS
            SDK. Go downloads these.

    Raises:
        ServerMissing: there is no Go, or it cannot build the program.
    """
    source = _SOURCE / folder
    shared = {file for package in ("frames", "protocol") for file in (_SOURCE / package).glob("*.go")}
    files = sorted({*source.glob("*.go"), *source.glob("go.*"), *shared})
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    program = cache_folder() / f"oracle-{source.name}-{digest}"
    if not program.exists():
        go = find_go()
        program.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{program}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may ask at once
            if not program.exists():
                built = program.with_suffix(".new")
                command = [go, "build", "-o", str(built), "."]
                environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
                done = subprocess.run(
                    command, cwd=source, env=environment, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise ServerMissing(f"the oracle cannot be built: {done.stderr[-500:]}")
                built.rename(program)
    return str(program)


class Oracle:
    """The running program.

    Args:
        plant: changes one thing in it on purpose, see the program's main.go.
        folder: see :func:`build`.
    """

    def __init__(self, plant: str = "", folder: str = ".") -> None:
        self._process = subprocess.Popen(
            [build(folder), *(["-plant", plant] if plant else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1 << 20,
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def ask(self, cases: Sequence[Case]) -> list[Answer]:
        """One answer for each case."""
        assert self._process.stdin is not None
        body = b"".join(
            b"%c%s%s" % (case.verb, struct.pack("<I", len(case.data)), case.data) for case in cases
        )
        # The program reads the whole batch before it answers, so neither side waits for the other.
        self._process.stdin.write(struct.pack("<I", len(body)) + body)
        self._process.stdin.flush()
        (size,) = struct.unpack("<I", self._read(4))
        reply = self._read(size)
        answers = []
        at = 0
        while at < len(reply):
            (length,) = struct.unpack_from("<I", reply, at + 1)
            answers.append(Answer(reply[at : at + 1], reply[at + 5 : at + 5 + length]))
            at += 5 + length
        assert len(answers) == len(cases)
        return answers

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        found = self._process.stdout.read(size)
        assert len(found) == size, "the oracle has ended"
        return found
