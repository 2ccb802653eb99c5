"""Writes to the broker how many tasks have ended, every few seconds: for the charts of the dashboard."""

from __future__ import annotations

import logging
import time
from typing import Final

import kombu

from gearmesh.app.app import App
from gearmesh.backoff import Backoff
from gearmesh.config import Config
from gearmesh.interfaces.listing import SupportsHistory
from gearmesh.metrics.totals import Totals
from gearmesh.service import Service
from gearmesh.transports.registry import connect
from gearmesh.urls import PlainTarget, RedisTarget, parse
from gearmesh.worker.committer import close_quietly

__all__ = ["HistoryWriter", "keeps_history"]

log = logging.getLogger("gearmesh.supervisor")

#: Seconds between two writes.
WRITE_INTERVAL_S: Final = 5.0

#: Queue -> outcome -> how many.
Ended = dict[str, dict[str, int]]


def keeps_history(config: Config) -> bool:
    """True if this app's workers write a history: the setting is on, and the broker may have a place for it."""
    # A plugin's channel says itself if it has: no connection is made to a broker that is known to have none.
    return config.history and isinstance(parse(config.brokers[0], "broker"), (RedisTarget, PlainTarget))


class HistoryWriter:
    """Writes in a thread with a connection of its own; nothing while no task ends.

    What cannot be written since the broker is away is written when it is back, under that minute: a chart shows when it
    became known. A write whose answer was lost is not repeated, so a count may be too low and is never doubled.

    Args:
        app: names the broker.
        totals: of the worker.
    """

    def __init__(self, app: App, totals: Totals) -> None:
        self._app = app
        self._totals = totals
        self._written: Ended = {}
        self._connection: kombu.Connection | None = None
        self._service = Service("gearmesh-history", self._loop)

    def start(self) -> None:
        """Write from now on."""
        self._service.start()

    def stop(self) -> None:
        """Write what is left, if the broker takes it within two seconds, and end. Twice is fine."""
        self._service.stop(2.0)

    def _loop(self) -> None:
        backoff = Backoff(1.0, 30.0)
        pause = WRITE_INTERVAL_S
        try:
            while not self._service.stopping.wait(pause):
                pause = WRITE_INTERVAL_S
                try:
                    if not self._write():
                        log.debug("no history is kept: this broker has no place for it")
                        return
                    backoff.reset()
                except Exception as exc:  # it is away, or does not allow it: tasks run all the same
                    backoff.log(log, "the history of queues is not written", exc)
                    self._disconnect()
                    pause = max(WRITE_INTERVAL_S, backoff.next())
            if backoff.count == 0:
                self._write()
        except Exception as exc:
            log.debug("the last seconds of the history are not written: %s", exc)
        finally:
            self._disconnect()

    def _write(self) -> bool:
        """Write what has ended since the last time; False if the broker has no place for it."""
        ended = self._ended()
        if ended == self._written:
            return True
        if self._connection is None:
            self._connection = connect(self._app.config, choice=self._app.broker_choice)
        channel = self._connection.default_channel
        if not isinstance(channel, SupportsHistory):
            return False
        minute = int(time.time()) // 60
        for queue, counts in ended.items():
            before = self._written.get(queue, {})
            more = {word: count - before.get(word, 0) for word, count in counts.items()}
            more = {word: count for word, count in more.items() if count > 0}
            if more:
                self._written[queue] = counts
                channel.add_history(queue, minute, more)
        return True

    def _ended(self) -> Ended:
        found: Ended = {}

        def read(totals: Totals) -> None:
            for (_, queue, outcome), counts in totals.tasks.items():
                own = found.setdefault(queue, {})
                own[outcome] = own.get(outcome, 0) + counts.count
                own["run_ms"] = own.get("run_ms", 0) + int(counts.run.total * 1000)

        self._totals.read(read)
        return found

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close_quietly(connection)
