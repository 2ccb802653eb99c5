"""Writes to the broker how many tasks have ended, every few seconds: for the charts of the dashboard."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from gearmesh.backoff import Backoff
from gearmesh.config import Config
from gearmesh.interfaces.listing import SupportsHistory
from gearmesh.metrics.totals import Totals
from gearmesh.urls import PlainTarget, RedisTarget, parse

__all__ = ["HistoryWriter", "keeps_history"]

log = logging.getLogger("gearmesh.supervisor")

#: Seconds between two writes.
WRITE_INTERVAL_S: Final = 5.0
#: The longest time, in seconds, between two writes while the broker refuses them.
MAX_REFUSED_INTERVAL_S: Final = 300.0

#: Queue -> outcome -> the number of tasks.
Ended = dict[str, dict[str, int]]


def keeps_history(config: Config) -> bool:
    """True if this app's workers write a history: the setting is on, and the broker may have a place for it."""
    # The channel of a plugin tells later if it has a place; of gearmesh's own brokers only Redis has.
    return config.history and isinstance(parse(config.brokers[0], "broker"), (RedisTarget, PlainTarget))


class HistoryWriter:
    """Writes over the supervisor's connection, in the thread that sends heartbeats; nothing while no task ends.

    Counts that cannot be written while the broker is unreachable are written when it is back, under the minute of the
    write. A write whose answer was lost is not repeated, so a count may be too low and is never doubled.

    Args:
        totals: the worker's totals.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._written: Ended = {}
        self._next_at = time.monotonic() + WRITE_INTERVAL_S
        self._refused = Backoff(WRITE_INTERVAL_S, MAX_REFUSED_INTERVAL_S)

    def step(self, channel: Any, errors: tuple[type[BaseException], ...]) -> float:
        """Write if it is time to, and return the seconds until the next write.

        Args:
            channel: a channel to the broker.
            errors: the exceptions of its connection, which are raised. Other exceptions are logged.
        """
        if time.monotonic() >= self._next_at:
            pause = WRITE_INTERVAL_S
            try:
                self.write(channel)
                self._refused.reset()
            except errors:
                raise
            except Exception as exc:  # for example, the broker does not allow it: tasks run all the same
                self._refused.log(log, "the history of queues is not written", exc)
                pause = self._refused.next()
            self._next_at = time.monotonic() + pause
        return max(0.0, self._next_at - time.monotonic())

    def write(self, channel: Any) -> None:
        """Write the counts of tasks that have ended since the last write, if the broker has a place for them."""
        ended = self._ended()
        if ended == self._written or not isinstance(channel, SupportsHistory):
            return
        minute = int(time.time()) // 60
        for queue, counts in ended.items():
            before = self._written.get(queue, {})
            more = {word: count - before.get(word, 0) for word, count in counts.items()}
            more = {word: count for word, count in more.items() if count > 0}
            if more:
                self._written[queue] = counts
                channel.add_history(queue, minute, more)

    def _ended(self) -> Ended:
        found: Ended = {}

        def read(totals: Totals) -> None:
            for (_, queue, outcome), counts in totals.tasks.items():
                own = found.setdefault(queue, {})
                own[outcome] = own.get(outcome, 0) + counts.count
                own["run_ms"] = own.get("run_ms", 0) + int(counts.run.total * 1000)

        self._totals.read(read)
        return found
