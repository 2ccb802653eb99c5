"""Tells probes and systemd that a scheduler lives."""

from __future__ import annotations

import time

from gearmesh.health import BEAT_INTERVAL_S, HealthFile
from gearmesh.systemd import ServiceNotifier

__all__ = ["SchedulerMonitor"]


class SchedulerMonitor:
    """Reports the beats of a scheduler's loop: a loop that hangs is silent.

    Args:
        name: the name of the process, for people.
        notifier: sends states to systemd; under a supervisor it sends none.
    """

    def __init__(self, name: str, notifier: ServiceNotifier) -> None:
        self._health = HealthFile("scheduler", name)
        self._notifier = notifier
        self._next_beat = 0.0
        self._reason: str | None = None

    def beat(self, reason: str) -> float:
        """Report that the loop goes round. Only the loop calls it.

        Args:
            reason: why tasks that are due cannot be sent now; ``""``: they can, as far as is known.

        Returns:
            Seconds until it should be called again.
        """
        now = time.monotonic()
        if now >= self._next_beat or reason != self._reason:
            self._next_beat = now + min(BEAT_INTERVAL_S, self._notifier.interval_s)
            self._reason = reason
            self._health.write(ready=not reason, reason=reason)
            self._notifier.ready()
            self._notifier.alive(reason or "scheduling")
        return max(0.0, self._next_beat - now)

    def close(self) -> None:
        """Say that the scheduler stops, and remove the note."""
        self._notifier.stopping()
        self._health.remove()
