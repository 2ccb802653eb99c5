"""Tells the watches of this process which tasks have ended. Each watch has its own thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

__all__ = ["Announcer"]

logger = logging.getLogger(__name__)


class Announcer:
    """Calls all watches when tasks have ended. A slow or failing watch delays neither the caller nor the other
    watches."""

    def __init__(self) -> None:
        self._watches: tuple[_Watch, ...] = ()
        self._lock = threading.Lock()

    def announce(self, uuids: Sequence[str]) -> None:
        """Give UUIDs to every watch, without waiting."""
        if uuids:
            for watch in self._watches:
                watch.mailbox.put(list(uuids))

    def tell(self, uuids: Sequence[str]) -> None:
        """Give UUIDs to every watch. Call a single watch here: to wake its own thread takes longer than most calls.

        This is for a caller that does nothing else, and which a slow watch may therefore delay.
        """
        watches = self._watches
        if uuids and len(watches) == 1:
            watches[0].call(uuids)
        else:
            self.announce(uuids)

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Call ``wake(uuids)`` at every announcement, until the returned function is called.

        The returned function waits for the end of a running call, unless that call calls it.
        """
        watch = _Watch(wake)
        with self._lock:
            self._watches += (watch,)
        watch.start()

        def stop() -> None:
            with self._lock:
                self._watches = tuple(each for each in self._watches if each is not watch)
            watch.stop()

        return stop


class _Watch:
    """Calls ``wake`` one call at a time, in the thread that announces or in its own."""

    def __init__(self, wake: Callable[[Sequence[str]], None]) -> None:
        self._wake = wake
        self.mailbox: SimpleQueue[list[str] | None] = SimpleQueue()
        self._calling = threading.Lock()
        #: the thread in which a call runs
        self._caller: threading.Thread | None = None
        self._over = False
        self._thread = threading.Thread(target=self._deliver, name="gearmesh-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, uuids: Sequence[str]) -> None:
        with self._calling:
            if self._over:
                return
            self._caller = threading.current_thread()
            try:
                self._wake(uuids)
            except Exception:
                logger.exception("a watch of results failed")
            finally:
                self._caller = None

    def stop(self) -> None:
        self._over = True
        self.mailbox.put(None)
        if self._caller is not threading.current_thread():
            self._thread.join()
            with self._calling:  # another thread's call has ended
                pass

    def _deliver(self) -> None:
        while (uuids := self.mailbox.get()) is not None:
            self.call(uuids)
