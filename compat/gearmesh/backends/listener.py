"""The listener subscribes to a server's announcements of ended tasks, while a watch needs them."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

from gearmesh.backends.announcement import split_words
from gearmesh.backends.announcer import Announcer
from gearmesh.backoff import Backoff

__all__ = ["STOP_CHECK_INTERVAL_S", "Listener", "Subscribe", "redis_channel"]

log = logging.getLogger("gearmesh.listener")

#: Seconds after which a listener checks if a watch still needs it.
STOP_CHECK_INTERVAL_S = 1.0

#: Makes a subscription. It yields the words of each announcement, and an empty list after
#: :data:`STOP_CHECK_INTERVAL_S` seconds of silence; closing the generator ends the subscription.
Subscribe = Callable[[], Generator[list[str], None, None]]


class Listener:
    """Keeps one subscription and one thread for any number of watches, and neither without a watch.

    After a lost connection, or another error, it subscribes again, with growing pauses.

    Args:
        subscribe: makes a subscription.
        subject: names the announcements in the log.
    """

    def __init__(self, subscribe: Subscribe, subject: str) -> None:
        self._subscribe = subscribe
        self._subject = subject
        self._announcer = Announcer()
        self._lock = threading.Lock()
        self._stops: set[Callable[[], None]] = set()
        #: Ends the running thread; None: no thread runs.
        self._ended: threading.Event | None = None

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Call ``wake(words)`` at every announcement, until the returned function is called."""
        end = self._announcer.watch(wake)
        with self._lock:
            self._stops.add(end)
            if self._ended is None:
                self._ended = threading.Event()
                name = "gearmesh-listener"
                threading.Thread(target=self._listen, args=(self._ended,), name=name, daemon=True).start()

        def stop() -> None:
            end()
            with self._lock:
                self._stops.discard(end)
                if not self._stops and self._ended is not None:
                    self._ended.set()
                    self._ended = None

        return stop

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            stops, self._stops = self._stops, set()
            ended, self._ended = self._ended, None
        if ended is not None:
            ended.set()
        for stop in stops:
            stop()

    def _listen(self, ended: threading.Event) -> None:
        pauses = Backoff()
        while not ended.is_set():
            try:
                with contextlib.closing(self._subscribe()) as subscription:
                    for words in subscription:
                        pauses.reset()
                        if ended.is_set():
                            break
                        self._announcer.tell(words)
            except Exception as exc:  # an error that ended this thread would end all watches
                if not ended.is_set():
                    pauses.log(log, f"{self._subject}: the subscription is interrupted", exc)
                ended.wait(pauses.next())


def redis_channel(client: Any, channel: str, missed: Callable[[], list[str]] | None = None) -> Subscribe:
    """Return a function that subscribes to a Redis channel whose messages are words with spaces between them.

    Args:
        client: a client of ``redis-py``.
        channel: the channel's name.
        missed: called whenever a subscription has begun; it returns UUIDs that may have been announced before, which
            are yielded first. None: nothing is yielded first.
    """

    def subscribe() -> Generator[list[str], None, None]:
        with contextlib.closing(client.pubsub()) as pubsub:
            pubsub.subscribe(channel)
            while True:
                message = pubsub.get_message(timeout=STOP_CHECK_INTERVAL_S)
                if message is not None and message["type"] == "message":
                    yield split_words(message["data"].decode(errors="replace"))
                elif message is not None and message["type"] == "subscribe" and missed is not None:
                    yield missed()
                else:
                    yield []

    return subscribe
