"""Hears on a Redis channel which tasks became final, while anybody wants to know."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from gearmesh.backends.announcer import Announcer
from gearmesh.pauses import Pauses
from gearmesh.redis_scripts.connections import CONNECTION_ERRORS

__all__ = ["Listener"]

log = logging.getLogger("gearmesh.redis")

#: Seconds after which a listener looks whether it is still wanted.
LOOK = 1.0


class Listener:
    """One subscription and one thread for any number of watchers; none for none.

    Args:
        client: of ``redis-py``.
        channel: its messages are words with spaces between.
        missed: called whenever the subscription has begun, gives words that may have been missed before.
    """

    def __init__(self, client: Any, channel: str, missed: Callable[[], list[str]] | None = None) -> None:
        self._redis = client
        self._channel = channel
        self._missed = missed
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
        pauses = Pauses()
        while not over.is_set():
            try:
                with contextlib.closing(self._redis.pubsub()) as pubsub:
                    pubsub.subscribe(self._channel)
                    while not over.is_set():
                        message = pubsub.get_message(timeout=LOOK)
                        pauses.reset()
                        if message is None or over.is_set():
                            continue
                        if message["type"] == "message":
                            self._announcer.announce(message["data"].decode().split(" "))
                        elif message["type"] == "subscribe" and self._missed is not None:
                            self._announcer.announce(self._missed())
            except CONNECTION_ERRORS as exc:
                pauses.log(log, f"channel {self._channel} is not heard now", exc)
                over.wait(pauses.next())
