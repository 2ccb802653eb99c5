"""Writes the progress that tasks report, and reads it for callers. It is stored where Go does not look."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from gearmesh.backoff import Backoff
from gearmesh.errors import TaskError
from gearmesh.interfaces.backend import Backend, SupportsProgress

__all__ = ["Progress", "ProgressBoard"]

log = logging.getLogger("gearmesh.progress")

#: Seconds between two writes of this process.
WRITE_INTERVAL_S = 0.1
#: Seconds that the thread outlives the last report.
THREAD_LINGER_S = 5.0


class Progress(msgspec.Struct, frozen=True):
    """The last report of a task about its own progress.

    Attributes:
        done: how much is done, in the task's own unit.
        total: how much there is to do; None: the task did not say.
        note: the task's note, for people; ``""``: it gave none.
        at: when the task reported, in Unix seconds by the worker's clock.
    """

    done: float
    total: float | None = None
    note: str = ""
    at: float = 0.0

    @property
    def fraction(self) -> float | None:
        """``done / total`` from 0 to 1; None if the total is not known or 0."""
        return min(self.done / self.total, 1.0) if self.total else None


class ProgressBoard:
    """Writes the reports of one process's tasks, the newest of each, in one batch every 100 ms.

    The first report starts a thread for this, which ends after 5 s without reports.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._keeps = isinstance(backend, SupportsProgress)
        self._told: dict[str, bytes] = {}
        self._news = threading.Condition()
        #: held while this process writes reports, so that no older report overwrites a newer one
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def tell(self, uuid: str, done: float, total: float | None, note: str) -> None:
        """Take a report. Raises TaskError for a wrong argument."""
        all_of_it = None if total is None else _number("total", total)
        body = msgspec.json.encode(Progress(_number("done", done), all_of_it, _text(note), time.time()))
        if not self._keeps:
            return
        with self._news:
            self._told[uuid] = body
            self._closed = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="gearmesh-progress", daemon=True)
                self._thread.start()
            else:
                self._news.notify()

    def flush(self) -> None:
        """Write the reports that are not written yet. Log it if the backend is unreachable."""
        try:
            self._write()
        except self._backend.connection_errors as exc:
            log.warning("progress cannot be written: %s", exc)

    def read(self, uuids: Sequence[str]) -> list[Progress | None]:
        """Read the last reports; None where there is none. Raises the backend's connection errors."""
        if not isinstance(self._backend, SupportsProgress):
            return [None] * len(uuids)
        return [None if body is None else _read(body) for body in self._backend.reports(uuids)]

    def close(self) -> None:
        """Write the reports that are left, and end the thread. A later report starts another one."""
        with self._news:
            self._closed = True
            self._news.notify()
            running = self._thread is not None
        if running:
            self.flush()

    def _write(self) -> None:
        if not isinstance(self._backend, SupportsProgress):
            return
        with self._writing:
            with self._news:
                told, self._told = self._told, {}
            try:
                if told:
                    self._backend.report(told)
            except BaseException:
                with self._news:
                    self._told = told | self._told
                raise

    def _loop(self) -> None:
        pauses = Backoff(WRITE_INTERVAL_S)
        while self._wait():
            try:
                self._write()
                pauses.reset()
                pause = WRITE_INTERVAL_S
            except self._backend.connection_errors as exc:
                pauses.log(log, "progress cannot be written, the result backend is unreachable", exc)
                pause = pauses.next()
            except Exception:
                log.exception("progress cannot be written")
                pause = WRITE_INTERVAL_S
            time.sleep(pause)

    def _wait(self) -> bool:
        """Wait for reports; False: there are none, and the thread must end."""
        with self._news:
            if not self._told and not self._closed:
                self._news.wait(THREAD_LINGER_S)
            if self._told and not self._closed:
                return True
            self._thread = None
            return False


def _read(body: bytes) -> Progress | None:
    try:
        return msgspec.json.decode(body, type=Progress)
    except msgspec.MsgspecError:
        return None


def _number(name: str, value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise TaskError(f"progress: {name} is {value!r:.80}, expected a number, 0 or more")
    checked: float = value
    return checked


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TaskError(f"progress: note is {value!r:.80}, expected str")
    return value.encode(errors="replace").decode()
