"""The scheduler's process beside the worker's: ``gearmesh worker --with-scheduler``."""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from gearmesh.backoff import Backoff
from gearmesh.worker.child import EXIT_CONFIG
from gearmesh.worker.control import ControlPipe
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.worker_process import KILL_DELAY_S, STEADY_RUN_S, exit_shown

__all__ = ["SchedulerProcess"]

log = logging.getLogger("gearmesh.supervisor")


class SchedulerProcess:
    """Has a scheduler at (nearly) all times, until it is told to end; as :class:`~.worker_process.WorkerProcess` has a
    child.

    Args:
        spec: of the app.
        news: called when the process has ended.
        broker: gives the number of the broker to try first, of several.
    """

    def __init__(
        self, spec: str, options: WorkerOptions, news: Callable[[], None], broker: Callable[[], int]
    ) -> None:
        self._setup = {"spec": spec, "options": dataclasses.asdict(options)}
        self._broker = broker
        self._control: ControlPipe | None = None
        self._news = news
        self._pauses = Backoff(0.1, 30.0)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_at = 0.0
        self._passed = 0
        self._kill_at = float("inf")
        #: It said that it would fail again in the same way.
        self.hopeless = False

    @property
    def empty(self) -> bool:
        """There is no process."""
        return self._process is None

    def step(self, signals: int) -> float:
        """Do what is due; seconds until it should be called again. ``signals``: how many came."""
        now = time.monotonic()
        process = self._process
        if process is not None:
            if process.returncode is None:
                return self._attend(process, signals, now)
            self._after_exit(process, process.returncode, signals, now)
        if signals or self.hopeless:
            return float("inf")
        if now < self._start_at:
            return self._start_at - now
        self._start(now)
        return 0.0

    def _start(self, now: float) -> None:
        control = self._control = ControlPipe()
        setup = json.dumps({**self._setup, "control": control.child_end, "broker": self._broker()})
        try:
            # As the worker's child, out of the terminal's reach.
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "gearmesh.scheduler.child", setup],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[control.child_end],
            )
        except BaseException:
            control.close()
            raise
        finally:
            control.started()
        self._started_at, self._passed, self._kill_at = now, 0, float("inf")

        def wait() -> None:
            process.wait()
            self._news()

        threading.Thread(target=wait, name="gearmesh-scheduler", daemon=True).start()

    def _attend(self, process: subprocess.Popen[bytes], signals: int, now: float) -> float:
        while self._passed < min(signals, 2):
            self._passed += 1
            assert self._control is not None
            self._control.stop()
            self._kill_at = now + (2 if self._passed == 1 else 1) * KILL_DELAY_S
        if now >= self._kill_at:
            log.error("killed the scheduler process, which did not end in time")
            process.kill()
            self._kill_at = float("inf")
        return self._kill_at - now

    def _after_exit(self, process: subprocess.Popen[bytes], code: int, signals: int, now: float) -> None:
        self._process = None
        if self._control is not None:
            self._control.close()
        if code == EXIT_CONFIG:
            self.hopeless = True
        elif not signals:
            if now - self._started_at > STEADY_RUN_S:
                self._pauses.reset()
            pause = self._pauses.next()
            self._start_at = now + pause
            log.error("scheduler process ended with %s; a new one starts in %g s", exit_shown(code), pause)
