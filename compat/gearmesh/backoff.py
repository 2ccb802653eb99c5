"""Growing waits between attempts, and a log that does not repeat itself during an outage."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from gearmesh.units import duration
from gearmesh.urls import redact_text

__all__ = ["MAX_RETRY_DELAY_S", "Backoff", "OutageLog", "reason_of"]

#: Seconds of an outage until it is logged again; the interval doubles each time.
REMINDER_S: Final = 60.0

#: The longest wait, in seconds, between two attempts to reach a server: tasks that wait for the server run soon
#: after it is back.
MAX_RETRY_DELAY_S = 1.0


class Backoff:
    """Gives the seconds to wait before each attempt: ``first``, doubled each time up to ``most``."""

    def __init__(self, first: float = 0.05, most: float = MAX_RETRY_DELAY_S) -> None:
        self._wait = self._first = first
        self._most = most
        #: The number of waits since the last success.
        self.count = 0

    def next(self) -> float:
        """Return the next wait."""
        wait = self._wait
        self._wait = min(self._most, wait * 2)
        self.count += 1
        return wait

    def reset(self) -> None:
        """Begin with the first wait again, after a success."""
        self._wait, self.count = self._first, 0

    def log(self, log: logging.Logger, what: str, exc: BaseException) -> None:
        """Log a WARNING at the first, second, third, fifth, ninth … failed attempt."""
        if self.count & (self.count - 1) == 0:
            log.warning("%s: %s (try %d)", what, reason_of(exc), self.count + 1)


class OutageLog:
    """Logs once that a server is unreachable, again while that lasts for minutes, and once that it is reachable again.

    Safe in threads: all threads of a process that use a server share one, so that an outage is logged once.

    Args:
        log: where lines go.
        server: gives the server's name for people, with its URL masked: ``broker redis://***@host:6379/0``.
        clock: monotonic seconds.
    """

    def __init__(
        self, log: logging.Logger, server: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._server = server
        self._clock = clock
        self._lock = threading.Lock()
        #: the clock's time at which the logged outage began; None: no outage is logged
        self._since: float | None = None
        self._next_at = 0.0
        self._interval = REMINDER_S

    @property
    def lasts(self) -> bool:
        """True while the server is unreachable, as far as the log says."""
        return self._since is not None

    def failed(self, exc: BaseException | str, fate: str = "", since: float | None = None) -> None:
        """Log, at WARNING, that the server could not be reached, unless this outage is logged already.

        Args:
            exc: the reason.
            fate: the effect of the outage, and for how long the caller keeps trying.
            since: the clock's time at which the outage began; None: now.
        """
        now = self._clock()
        if self._since is not None and now < self._next_at:
            return
        # Do not wait for this lock: a thread that has it logs the same outage, and after a fork it may stay locked.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._since is None:
                self._since = now if since is None else since
                self._interval = REMINDER_S
                verb = "is unreachable"
            elif now >= self._next_at:
                self._interval *= 2
                verb = f"has been unreachable for {duration(now - self._since)}"
            else:
                return
            self._next_at = now + self._interval
        finally:
            self._lock.release()
        self._log.warning("%s %s%s: %s", self._server(), verb, f" ({fate})" if fate else "", reason_of(exc))

    def worked(self) -> None:
        """Log, at INFO, that the server is reachable again, if its outage was logged. Costs nothing otherwise."""
        if self._since is None or not self._lock.acquire(blocking=False):
            return
        since, self._since = self._since, None
        self._lock.release()
        if since is not None:
            self._log.info(
                "%s is reachable again after %s", self._server(), duration(max(0.0, self._clock() - since))
            )


def reason_of(exc: BaseException | str) -> str:
    """Return an error's text for a log line, without passwords; the name of its class if it has no text."""
    return redact_text(" ".join(str(exc).split())) or type(exc).__name__
