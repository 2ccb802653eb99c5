"""Every command that a Redis carries out for one database, in order, those inside scripts too."""

from __future__ import annotations

import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

import redis

_LINE = re.compile(rb"\+\d+\.\d+ \[(\d+) (\S+)\] (.*)\r\n", re.DOTALL)
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_SHORT = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


class Command(NamedTuple):
    """One command; ``source`` is an address, or ``lua`` inside a script."""

    source: str
    words: tuple[bytes, ...]

    @property
    def name(self) -> str:
        return self.words[0].decode().upper()


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code[1:], 16)]) if len(code) == 3 else _SHORT.get(code, code)


def parse(line: bytes) -> tuple[int, Command] | None:
    """Return the database and the command of one line of MONITOR; None if the line has no command."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    words = tuple(_ESCAPE.sub(_unescape, word) for word in _WORD.findall(match[3]))
    return int(match[1]), Command(match[2].decode(), words)


class Monitor:
    """Watches the database of ``url`` from ``with`` on.

    Attributes:
        commands: the commands so far, in order; a thread appends to it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._db = int(parts.path[1:])
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="monitor", daemon=True)
        self.commands: list[Command] = []

    def __enter__(self) -> Monitor:
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._socket.settimeout(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def wait(self, condition: Callable[[list[Command]], bool], timeout: float = 60.0) -> bool:
        """Wait until ``condition`` holds for the commands seen; False if it does not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self.commands), timeout)

    def settle(self, client: redis.Redis) -> None:
        """Wait until all that was carried out before this call has been seen."""
        mark = f"mark-{uuid.uuid4()}".encode()
        client.echo(mark)
        seen = self.wait(lambda commands: any(mark in command.words for command in commands[-500:]))
        assert seen, "MONITOR is behind"

    def window(self, seconds: float) -> list[Command]:
        """Return the commands of the next ``seconds``; the call takes that long."""
        with self._changed:
            start, end = len(self.commands), time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
            return self.commands[start:]

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                found = parse(line)
                if found is not None and found[0] == self._db:
                    with self._changed:
                        self.commands.append(found[1])
                        self._changed.notify_all()
