"""Starts a peer and talks to it in lines, each with one JSON object.

A peer is any program that offers an implementation of Machinery's protocol by the verbs of ``docs/howto/interop.md``;
:mod:`gearmesh.testing.peer` is the peer in Python. ::

    with PeerProcess([path, "-mode", "both", "-broker", url, "-backend", url]) as peer:
        answer = peer.ask(Op="call", Sig={"Name": "add", "Args": []})
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gearmesh.testing.startable import Startable

__all__ = ["PeerDied", "PeerError", "PeerProcess", "PeerTimeout", "python_peer"]

Answer = dict[str, Any]


class PeerError(RuntimeError):
    """Raised if a peer does not start or gives no valid answer; the message ends with the last lines of its log."""


class PeerDied(PeerError):
    """Raised if the peer's process ended, or closed its output, before it answered."""


class PeerTimeout(PeerError):
    """Raised if the peer does not answer in time. The peer is killed, since a late answer would look like the answer to
    the next request."""


def python_peer(*flags: str) -> list[str]:
    """The command line of the Python peer, run by this interpreter."""
    return [sys.executable, "-m", "gearmesh.testing.peer", *flags]


class PeerProcess(Startable):
    """One peer process; a context manager that starts it, waits until it is ready, and ends it.

    Only one thread at a time may ask. It ends the process by its own id, never by a name.

    Args:
        argv: the program and its flags.
        env: environment variables to set, in addition to those of this process.
        log: file for the peer's standard error; None: a temporary file, which is removed at the end.
        timeout: seconds for the first line, for an answer if the request names no timeout, and for an orderly end.

    Raises:
        PeerError: the peer did not start; the message has the end of its log.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.argv = list(argv)
        self._env = {**os.environ, **(env or {})}
        self._timeout = timeout
        self._log: IO[bytes] = tempfile.TemporaryFile() if log is None else open(log, "a+b")  # noqa: SIM115
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """The process id while the peer runs; 0 otherwise."""
        return self._process.pid if self.running and self._process else 0

    @property
    def running(self) -> bool:
        """True from :meth:`start` until the process has ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait for its ready line."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process without waiting, so that several peers can start at the same time."""
        if self._process is not None:
            raise PeerError(f"{self.argv[0]} was started already")
        try:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=self._env
            )
        except OSError as exc:
            raise PeerError(f"cannot start {self.argv[0]}: {exc}") from exc
        # A thread reads the output all the time, because a peer that cannot write stops working.
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name="gearmesh-peer", daemon=True
        )
        self._reader.start()

    def wait_ready(self) -> None:
        """Wait for ``{"OK":true,"Raw":"ready"}``."""
        ready = self._next_line(time.monotonic() + self._timeout, "the ready line")
        if not ready.get("OK") or ready.get("Raw") != "ready":
            raise self._problem(PeerError, f"answered {ready} instead of ready")

    def ask(
        self, request: Mapping[str, Any] | None = None, *, timeout: float | None = None, **fields: Any
    ) -> Answer:
        """Send one request, given as a mapping or by its fields, and return the answer.

        ``timeout``: seconds; None: TimeoutMs of the request (10 s without it), plus the timeout of this object.
        """
        asked = {**(request or {}), **fields}
        if timeout is None:
            timeout = asked.get("TimeoutMs", 10_000) / 1000 + self._timeout
        return self.ask_text(json.dumps(asked, ensure_ascii=True).encode(), timeout=timeout)

    def ask_text(self, line: bytes, *, timeout: float | None = None) -> Answer:
        """Do as :meth:`ask`, with the text of the request, for number literals that Python would change."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        process = self._process
        if process is None or process.stdin is None:
            raise PeerError(f"{self.argv[0]} is not running")
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        except (OSError, ValueError) as exc:
            raise self._problem(PeerDied, "takes no more requests") from exc
        return self._next_line(deadline, line[:200].decode(errors="replace"))

    def log_text(self) -> str:
        """The text that the peer has written to standard error so far."""
        handle = self._log.fileno()  # pread does not move the file's offset, at which the peer writes
        return os.pread(handle, os.fstat(handle).st_size, 0).decode(errors="replace")

    def close(self) -> None:
        """Close the peer's input, wait for its end, and kill it after the timeout. A second call does nothing."""
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                self.kill()
            if self._reader is not None:
                self._reader.join(self._timeout)
            if process.stdout is not None:
                process.stdout.close()
        self._log.close()

    def wait(self) -> int:
        """Wait until the peer has ended by itself; return its exit status."""
        if self._process is None:
            raise PeerError(f"{self.argv[0]} was not started")
        return self._process.wait(self._timeout)

    def kill(self) -> None:
        """Send SIGKILL to the peer, as if the machine lost power."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _next_line(self, deadline: float, what: str) -> Answer:
        try:
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            problem = self._problem(PeerTimeout, f"gave no answer in time to {what}")
            self.kill()
            raise problem from None
        if not line:
            self._lines.put(b"")
            raise self._problem(PeerDied, f"ended before it answered {what}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._problem(PeerError, f"answered {line[:200]!r}, expected a JSON object")
        return answer

    def _problem(self, kind: type[PeerError], text: str) -> PeerError:
        tail = "\n".join(self.log_text().splitlines()[-20:])
        state = "runs" if self.running else f"ended with {self._process.poll() if self._process else None}"
        return kind(f"{self.argv[0]} ({state}) {text}\n{tail}".rstrip())
