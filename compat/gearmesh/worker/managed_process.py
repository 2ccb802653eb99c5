"""Child processes that the supervisor replaces when they end."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gearmesh.backoff import Backoff
from gearmesh.worker.child_process import EXIT_CONFIG, ChildProcess

__all__ = ["KILL_DELAY_S", "SETTLE_DELAY_S", "STOP_DELAY_S", "ManagedProcess"]

log = logging.getLogger("gearmesh.supervisor")

#: A process that lived for this many seconds was not a failed start: the backoff begins anew.
STEADY_RUN_S = 60.0
#: The longest wait, in seconds, before a process that failed is started again.
MAX_RESTART_DELAY_S = 30.0
#: Seconds after the grace time within which a worker ends, even if its processes or its servers do not respond.
STOP_DELAY_S = 10.0
#: Seconds after the grace time at which the supervisor kills a process that has not ended.
KILL_DELAY_S = 7.0
#: Seconds after the grace time up to which the supervisor waits for the broker to take back a process's deliveries.
SETTLE_DELAY_S = 8.5

P = TypeVar("P", bound=ChildProcess)


class ManagedProcess(Generic[P]):
    """Starts a process, passes signals on to it, and starts another one when it ends.

    Belongs to the supervisor's thread.

    Args:
        name: the kind of process, for the log: ``"worker"``.
        start: starts a process.
        grace: seconds from the first signal in which the process may end by itself; it is killed
            :data:`KILL_DELAY_S` later. From the second signal on it has no more grace.
    """

    def __init__(self, name: str, start: Callable[[], P], grace: float) -> None:
        self._name = name
        self._start = start
        self._grace = grace
        self._backoff = Backoff(0.1, MAX_RESTART_DELAY_S)
        self._child: P | None = None
        self._start_at = 0.0
        self._seen_signals = 0
        #: when the grace time ends (monotonic seconds)
        self._ends_at = float("inf")
        self._killed = False
        #: True once a process has reported, by its exit code, that each further one would fail in the same way.
        self.hopeless = False

    def order(self, line: bytes) -> None:
        """Give an order to the running process, if there is one."""
        if self._child is not None:
            self._child.order(line)

    @property
    def empty(self) -> bool:
        """True if no process runs, and the deliveries of the last one are settled."""
        return self._child is None

    def step(self, signals: int) -> float:
        """Do the work that is due.

        Args:
            signals: how many signals the supervisor has received.

        Returns:
            Seconds until it should be called again; infinity: not before something has happened.
        """
        now = time.monotonic()
        child = self._child
        while self._seen_signals < min(signals, 2):
            self._seen_signals += 1
            self._ends_at = min(self._ends_at, now + (self._grace if self._seen_signals == 1 else 0.0))
            if child is not None:
                child.stop()
        if child is not None:
            if child.code is None:
                return self._attend(child, now)
            self._child = None
            self.hopeless = child.code == EXIT_CONFIG
            self._after_exit(child, child.code, signals)
        if not self._settled(signals, now):
            return self._ends_at + SETTLE_DELAY_S - now
        if signals or self.hopeless:
            return float("inf")
        if now < self._start_at:
            return self._start_at - now
        self._child = self._start()
        return 0.0

    def _attend(self, child: P, now: float) -> float:
        """Kill a process that does not end in time."""
        if self._killed:
            return float("inf")
        pause = self._ends_at + KILL_DELAY_S - now
        if pause > 0:
            return pause
        log.error("killed a %s process that did not end in time", self._name)
        child.kill()
        self._killed = True
        return float("inf")

    def _after_exit(self, child: P, code: int, signals: int) -> None:
        """Release a process that has ended, and delay the start of the next one if it failed."""
        child.close()
        if not signals:
            self._delay_restart(child, code)

    def _settled(self, signals: int, now: float) -> bool:
        """Say whether the deliveries of the last process are settled.

        If not, the supervisor waits, but not beyond :data:`SETTLE_DELAY_S`.
        """
        return True

    def _delay_restart(self, child: P, code: int, *, reset: bool = False) -> None:
        """Log a failure, and start the next process after a wait, which grows unless ``reset`` or after a long run."""
        if self.hopeless:
            return
        now = time.monotonic()
        if reset or now - child.started_at > STEADY_RUN_S:
            self._backoff.reset()
        delay = self._backoff.next()
        self._start_at = now + delay
        log.error("%s process ended with %s; a new one starts in %g s", self._name, exit_shown(code), delay)


def exit_shown(code: int) -> str:
    """Return an exit code as people read it: the signal's name, or ``exit code 1``."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
