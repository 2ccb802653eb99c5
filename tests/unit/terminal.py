"""Runs ``gearmesh`` on a terminal of its own, as a user at a screen does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Screen", "on_terminal"]

#: Seconds for a command.
TIMEOUT_S = 60.0
#: Variables that say something about the terminal of the tests.
_ABOUT_TERMINALS = {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen(NamedTuple):
    """The output of a command, and its exit code.

    Attributes:
        raw: with escape sequences.
        code: exit code.
    """

    raw: str
    code: int

    @property
    def text(self) -> str:
        """The output without escape sequences."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n").replace("\r", "\n")

    @property
    def lines(self) -> list[str]:
        """The lines, without spaces at their ends."""
        return [line.rstrip() for line in self.text.splitlines()]


def on_terminal(
    *words: str,
    columns: int = 80,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    interrupt_at: str = "",
) -> Screen:
    """Run ``gearmesh`` with a terminal for standard input, output and error.

    Args:
        words: the command line.
        columns: width of the terminal.
        folder: working directory.
        env: more variables.
        interrupt_at: press Ctrl-C once this text has appeared.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    ours = {name: value for name, value in os.environ.items() if name not in _ABOUT_TERMINALS}
    process = subprocess.Popen(
        [sys.executable, "-m", "gearmesh", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=folder,
        env={**ours, "TERM": "xterm-256color", **(env or {})},
        start_new_session=True,
    )
    os.close(slave)
    found = b""
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while True:
            assert time.monotonic() < deadline, found
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the process has closed its side
                break
            if not part:
                break
            found += part
            if interrupt_at and interrupt_at.encode() in found:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
        return Screen(found.decode(), process.wait(TIMEOUT_S))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
