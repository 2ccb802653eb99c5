"""Celery's own programs, started as users start them, ended by process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

import gearmesh
from gearmesh.testing.waiting import eventually

__all__ = ["CeleryProcess"]

ROOT = Path(__file__).parents[2]


class CeleryProcess:
    """``celery -A tests.celery.project WORDS…``; a context manager.

    Args:
        words: the command and its options.
        broker, backend: URLs for the project.
        app, folder: of another project.
        ready: text in the log that means it is up; ``""``: nothing is waited for.
        env: environment variables besides.
    """

    def __init__(
        self,
        *words: str,
        broker: str,
        backend: str = "",
        ready: str = " ready.",
        env: Mapping[str, str] | None = None,
        app: str = "tests.celery.project:app",
        folder: Path = ROOT,
    ) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="celery-", suffix=".log")  # noqa: SIM115
        self._ready = ready
        self._folder = folder
        self._argv = [sys.executable, "-m", "celery", "-A", app, *words]
        self._env = os.environ | {
            "PROJECT_BROKER": broker,
            "PROJECT_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join((str(Path(gearmesh.__file__).parents[1]), str(folder))),
            "C_FORCE_ROOT": "1",
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> CeleryProcess:
        self._process = subprocess.Popen(
            self._argv, env=self._env, cwd=self._folder, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            if self._ready:
                self.said(self._ready)
        except BaseException:
            self.kill()
            self._log.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is not None:
            sys.stderr.write(self.log()[-20_000:])
        self._log.close()

    @property
    def pid(self) -> int:
        """The main process's id."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """Ids of the pool's processes."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    def log(self) -> str:
        """Return the whole output of the process."""
        return Path(self._log.name).read_text("utf-8", "replace")

    def said(self, text: str, timeout: float = 60.0) -> None:
        """Wait until it has said this."""

        def there() -> bool:
            assert self._process is not None
            if text in self.log():
                return True
            assert self._process.poll() is None, f"it ended: {self.log()[-5000:]}"
            return False

        eventually(there, timeout, f"{text!r} in the log of {' '.join(self._argv[3:])}")

    def stop(self) -> None:
        """TERM, and KILL after a minute."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """KILL it and its pool."""
        assert self._process is not None
        if self._process.poll() is None:
            pids = [self.pid, *self.children()]
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.wait(10)
