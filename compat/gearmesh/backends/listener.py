"""Hears which tasks became final, while anybody wants to know."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

from gearmesh.backends.announcer import Announcer
from gearmesh.backoff import Backoff

__all__ = ["STOP_CHECK_INTERVAL_S", "Hear", "Listener", "redis_channel"]

log = logging.getLogger("gearmesh.listener")

#: Seconds after which a listener looks whether it is still wanted.
STOP_CHECK_INTERVAL_S = 1.0

#: Makes a subscription. It gives the words of each announcement, and nothing (an empty list) after
#: :data:`STOP_CHECK_INTERVAL_S` seconds of silence; closing it ends it.
Hear = Callable[[], Generator[list[str], None, None]]


class Listener:
    """One subscription and one thread for any number of watchers; none for none.

    Args:
        hear: makes a subscription.
        errors: what it raises while its server is away.
        what: is heard, for the log.
    """

    def __init__(self, hear: Hear, errors: tuple[type[BaseException], ...], what: str) -> None:
        self._hear = hear
        self._errors = errors
        self._what = what
        self._announcer = Announcer()
        self._lock = threading.Lock()
        self._stops: set[Callable[[], None]] = set()
        #: ends the running thread; None: there is none
        self._over: threading.Event | None = None

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Call ``wake(uuids)`` at every announcement until the returned function is called."""
        end = self._announcer.watch(wake)
        with self._lock:
            self._stops.add(end)
            if self._over is None:
                self._over = threading.Event()
                name = "gearmesh-listener"
                threading.Thread(target=self._listen, args=(self._over,), name=name, daemon=True).start()

        def stop() -> None:
            end()
            with self._lock:
                self._stops.discard(end)
                if not self._stops and self._over is not None:
                    self._over.set()
                    self._over = None

        return stop

    def close(self) -> None:
        """End all watches."""
        with self._lock:
            stops, self._stops = self._stops, set()
            over, self._over = self._over, None
        if over is not None:
            over.set()
        for stop in stops:
            stop()

    def _listen(self, over: threading.Event) -> None:
        pauses = Backoff()
        while not over.is_set():
            try:
                with contextlib.closing(self._hear()) as heard:
                    for words in heard:
                        pauses.reset()
                        if over.is_set():
                            break
                        self._announcer.announce(words)
            except self._errors as exc:
                if not over.is_set():
                    pauses.log(log, f"{self._what}: the subscription is interrupted", exc)
                over.wait(pauses.next())


def redis_channel(client: Any, channel: str, missed: Callable[[], list[str]] | None = None) -> Hear:
    """A subscription to a Redis channel whose messages are words with spaces between.

    Args:
        client: of ``redis-py``.
        channel: its name.
        missed: called whenever the subscription has begun, gives words that may have been missed before.
    """

    def hear() -> Generator[list[str], None, None]:
        with contextlib.closing(client.pubsub()) as pubsub:
            pubsub.subscribe(channel)
            while True:
                message = pubsub.get_message(timeout=STOP_CHECK_INTERVAL_S)
                if message is not None and message["type"] == "message":
                    yield message["data"].decode(errors="replace").split(" ")
                elif message is not None and message["type"] == "subscribe" and missed is not None:
                    yield missed()
                else:
                    yield []

    return hear
