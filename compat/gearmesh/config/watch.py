"""Reads a Config's file again while a program runs."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from gearmesh.config.config import Config
from gearmesh.config.table import SETTINGS
from gearmesh.errors import ConfigError

__all__ = ["RELOAD_INTERVAL_S", "Watch"]

log = logging.getLogger("gearmesh.config")

#: Seconds between two reads (Machinery's reloadDelay).
RELOAD_INTERVAL_S: Final = 10.0


class Watch:
    """Reads the layers of a Config again every few seconds, and passes on the settings that may change at run time.

    It logs one warning for each other setting that has changed, which takes effect at the next start. A wrong file
    changes nothing, and gets a warning, too.

    Args:
        get: a function that returns the Config in use.
        put: a function that gets the Config to use from now on.
        pause: seconds between two reads.

    Attributes:
        then: functions that are called with the Config in use after each change.
        tell: False: another process reads the same file and logs its changes, so this one logs them as DEBUG.
    """

    def __init__(
        self, get: Callable[[], Config], put: Callable[[Config], None], pause: float = RELOAD_INTERVAL_S
    ) -> None:
        self.then: list[Callable[[Config], object]] = []
        self.tell = True
        self._get = get
        self._put = put
        self._pause = pause
        self._read = get()
        self._trouble = ""
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. A second call does nothing."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._end.clear()
                self._thread = threading.Thread(target=self._loop, name="gearmesh-config", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread, if it runs. It can be started again."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._end.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _loop(self) -> None:
        while not self._end.wait(self._pause):
            self.look()

    def look(self) -> None:
        """Read the layers now."""
        try:
            fresh = self._read.reload()
        except ConfigError as exc:
            if str(exc) != self._trouble:
                self._trouble = str(exc)
                self._log(logging.WARNING, "the settings do not change: %s", exc)
            return
        self._trouble = ""
        changed: dict[str, Any] = {}
        for path, value in fresh.items():
            if value == self._read.value(path) or SETTINGS[path].idle:
                continue
            if SETTINGS[path].live:
                changed[path] = value
                self._log(logging.INFO, "%s is %s now (%s)", path, fresh.shown(path), fresh.origin(path))
            else:
                text = "%s is %s now (%s): this takes effect at the next start"
                self._log(logging.WARNING, text, path, fresh.shown(path), fresh.origin(path))
        self._read = fresh
        if changed:
            self._put(dataclasses.replace(self._get(), source=fresh.source, **changed))
            for then in self.then:
                then(self._get())

    def _log(self, level: int, text: str, *args: object) -> None:
        log.log(level if self.tell else logging.DEBUG, text, *args)
