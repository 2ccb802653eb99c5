"""Tells systemd that a service is ready, lives and stops: datagrams to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

__all__ = ["ServiceNotifier"]

#: The share of systemd's watchdog time after which a service says that it lives.
WATCHDOG_SHARE: Final = 1 / 3


class ServiceNotifier:
    """Sends systemd the state of this process; does nothing where systemd does not ask for it.

    The variables are removed from the environment, so that programs which tasks start do not speak for the service.

    Args:
        environment: the environment variables of the process.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # an abstract socket of Linux
            self._address = "\0" + self._address[1:]
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        #: seconds between two calls of :meth:`alive`; infinity: systemd has no watchdog for this process
        self.interval_s = float("inf")
        if self._address and usec.isdecimal() and pid in ("", str(os.getpid())):
            self.interval_s = max(0.05, int(usec) / 1e6 * WATCHDOG_SHARE)
        self._said: set[str] = set()

    def ready(self) -> None:
        """Say that the service has started. Once systemd has received that, a further call sends nothing."""
        self._once("READY=1")

    def stopping(self) -> None:
        """Say that the service stops. Once systemd has received that, a further call sends nothing."""
        self._once("STOPPING=1")

    def alive(self, status: str = "") -> None:
        """Say that the service lives. ``status``: its present work in a few words."""
        text = " ".join(status.split())
        self._send("WATCHDOG=1" + (f"\nSTATUS={text}" if text else ""))

    def _once(self, state: str) -> None:
        if state not in self._said and self._send(state):
            self._said.add(state)

    def _send(self, state: str) -> bool:
        """Send a state without waiting; False if systemd has no room for it now, or is gone."""
        if not self._address:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.setblocking(False)
            notify.sendto(state.encode(), self._address)
            return True
        return False
