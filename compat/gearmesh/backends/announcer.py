"""The announcer tells the watches of this process which tasks ended, each from a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

__all__ = ["Announcer"]

logger = logging.getLogger(__name__)

Mailbox = SimpleQueue["list[str] | None"]


class Announcer:
    """Tells any number of watches. A slow or failing one disturbs neither the caller nor the others."""

    def __init__(self) -> None:
        self._mailboxes: tuple[Mailbox, ...] = ()
        self._lock = threading.Lock()

    def announce(self, uuids: Sequence[str]) -> None:
        """Give UUIDs to every watch, without waiting."""
        if uuids:
            for mailbox in self._mailboxes:
                mailbox.put(list(uuids))

    def watch(self, wake: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Call ``wake(uuids)`` at every announcement, until the returned function is called.

        That function waits for a call that runs, unless it is called from it.
        """
        mailbox: Mailbox = SimpleQueue()
        thread = threading.Thread(target=_deliver, args=(mailbox, wake), name="gearmesh-watch", daemon=True)
        with self._lock:
            self._mailboxes += (mailbox,)
        thread.start()

        def stop() -> None:
            with self._lock:
                self._mailboxes = tuple(m for m in self._mailboxes if m is not mailbox)
            mailbox.put(None)
            if threading.current_thread() is not thread:
                thread.join()

        return stop


def _deliver(mailbox: Mailbox, wake: Callable[[Sequence[str]], None]) -> None:
    while (uuids := mailbox.get()) is not None:
        try:
            wake(uuids)
        except Exception:
            logger.exception("a watch of results failed")
