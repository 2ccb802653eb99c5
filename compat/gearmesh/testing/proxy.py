"""A TCP proxy that breaks connections on demand, for tests of an unreliable network.

::

    with Proxy(server.port) as proxy:
        app = App(broker=f"redis://127.0.0.1:{proxy.port}/0", …)
        proxy.lose_replies(1)   # the server acts, and the client does not learn of it
        proxy.cut()             # all connections end
        proxy.refuse()          # new connections are refused until allow()
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from gearmesh.testing.startable import Startable

__all__ = ["Proxy"]

_CHUNK = 65536


class Proxy(Startable):
    """Forwards a free port of 127.0.0.1 to ``host:port``. All methods are safe in threads.

    Args:
        port: the target's TCP port.
        host: the target's address.
        latency: seconds by which the proxy delays each chunk of a reply; may be assigned at any time.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, latency: float = 0.0) -> None:
        self.latency = latency
        #: Number of replies lost so far.
        self.lost = 0
        self._target = (host, port)
        self._lock = threading.Lock()
        self._links: set[_ProxiedConnection] = set()
        self._to_lose = 0
        self._match = b""
        self._closed = False
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        #: The port to connect to; :meth:`refuse` and :meth:`allow` do not change it.
        self.port = 0
        self.start()

    @property
    def connections(self) -> int:
        """The number of open connections through the proxy."""
        with self._lock:
            return len(self._links)

    def cut(self) -> int:
        """End all connections at once and return their number. The proxy accepts new ones."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()
        return len(links)

    def refuse(self) -> None:
        """Refuse new connections ("connection refused") until :meth:`allow`. Open ones stay."""
        with self._lock:
            listener, acceptor = self._listener, self._acceptor
            self._listener = self._acceptor = None
        if listener is not None:
            _shut(listener)
        if acceptor is not None:
            acceptor.join()

    def allow(self) -> None:
        """Accept connections again."""
        self.start()

    def start(self) -> None:
        """Begin to accept connections. Do nothing if the proxy already accepts them, or was closed."""
        with self._lock:
            if self._listener is not None or self._closed:
                return
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(128)
            self.port = listener.getsockname()[1]
            self._listener = listener
            self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            self._acceptor.start()

    def lose_replies(self, count: int = 1, match: bytes = b"") -> None:
        """Lose the next ``count`` replies: the connection ends after the server has acted and before its client knows.

        With ``match`` the proxy loses a reply only if the request contains these bytes (e.g. ``b"EVALSHA"``). The
        request is all bytes that the client has sent since the connection's last reply. A ``count`` of 0 loses no more.
        """
        with self._lock:
            self._to_lose, self._match = count, match

    def close(self) -> None:
        """End all connections and threads. A second call does nothing."""
        with self._lock:
            self._closed = True
        self.refuse()
        while True:
            with self._lock:
                links = list(self._links)
            if not links:
                return
            for link in links:
                link.close()
                link.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                listener.close()
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                _shut(client)
                client.close()
                continue
            server.settimeout(None)
            link = _ProxiedConnection(self, client, server)
            with self._lock:
                self._links.add(link)
            link.start()

    def _loses(self, request: bytes) -> bool:
        with self._lock:
            if self._to_lose <= 0 or self._match not in request:
                return False
            self._to_lose -= 1
            self.lost += 1
            return True

    def _forget(self, link: _ProxiedConnection) -> None:
        with self._lock:
            self._links.discard(link)


class _ProxiedConnection:
    """One connection: two sockets and a thread for each direction; the last thread closes them."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._lock = threading.Lock()
        self._request = b""
        self._running = 2
        self._threads = [
            threading.Thread(target=self._run, args=(pump,), daemon=True) for pump in (self._up, self._down)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both sides, and with them the threads."""
        _shut(self._client)
        _shut(self._server)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, pump: Callable[[], None]) -> None:
        with suppress(OSError):
            pump()
        self.close()
        with self._lock:
            self._running -= 1
            last = not self._running
        if last:
            self._client.close()
            self._server.close()
            self._proxy._forget(self)

    def _up(self) -> None:
        while data := self._client.recv(_CHUNK):
            with self._lock:
                self._request += data
            self._server.sendall(data)

    def _down(self) -> None:
        while data := self._server.recv(_CHUNK):
            with self._lock:
                request, self._request = self._request, b""
            if self._proxy._loses(request):
                return
            if self._proxy.latency:
                time.sleep(self._proxy.latency)
            self._client.sendall(data)


def _shut(sock: socket.socket) -> None:
    """End a socket for every process that holds it (a forked worker may hold a copy)."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
