"""Finds the server of each key, and keeps connections to each server."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError, MemcacheUnexpectedCloseError, MemcacheUnknownError

__all__ = ["CONNECTION_ERRORS", "MemcacheServer", "Servers", "too_large"]

T = TypeVar("T")

#: The server was not reached, has no memory left, or sent no valid answer: the call may be repeated.
CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (
    OSError,
    MemcacheServerError,
    MemcacheUnknownError,
)
#: Seconds for connecting, and for each piece of an answer.
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 2.0, 3.0
#: Idle connections kept for one server.
MAX_IDLE_CONNECTIONS = 32
#: Keys of one request, and bytes of values: memcached answers nothing before it has read a whole ``get``.
MAX_REQUEST_KEYS, MAX_REQUEST_BYTES = 200, 1 << 20


def too_large(exc: MemcacheServerError) -> bool:
    """True for a server's refusal of a value for its size."""
    return bool(exc.args) and b"too large" in bytes(exc.args[0])


class MemcacheServer:
    """Keeps the connections of one process to one memcached. Safe in threads; belongs to one process.

    Args:
        address: ``(host, port)``, or the path of a Unix socket with port 0.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address if address[1] else address[0]
        self._idle: deque[Any] = deque()

    def run(self, work: Callable[[Any], T]) -> T:
        """Do ``work`` on a pymemcache Client that no other thread uses meanwhile.

        The server may have closed an idle connection. Then ``work`` is done again on a new one, so it must be safe to
        repeat.
        """
        try:
            client = self._idle.pop()
        except IndexError:
            return self._use(self._connection(), work)
        try:
            return self._use(client, work)
        except (ConnectionError, MemcacheUnexpectedCloseError):
            self.close()  # the other idle connections are older
            return self._use(self._connection(), work)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def _use(self, client: Any, work: Callable[[Any], T]) -> T:
        try:
            result = work(client)
        except BaseException:
            client.close()
            raise
        if len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(client)
        else:
            client.close()
        return result

    def _connection(self) -> Any:
        return Client(
            self._address,
            connect_timeout=CONNECT_TIMEOUT_S,
            timeout=ANSWER_TIMEOUT_S,
            no_delay=True,
            default_noreply=False,
            allow_unicode_keys=True,
        )


class Servers:
    """Finds the memcached on which a key is, among all servers of one URL.

    Args:
        addresses: in the URL's order, which decides where a key is.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._servers = [MemcacheServer(address) for address in addresses]

    def of(self, key: bytes) -> MemcacheServer:
        """The server that has ``key``, as Go's client finds it.

        Go: the IEEE CRC-32 of the key, modulo the number of servers, counts them in the order they are named; a server
        that is down stays in the count (gomemcache's ServerList).
        """
        return self._servers[zlib.crc32(key) % len(self._servers)]

    def parts(
        self, keys: Iterable[bytes], size: Callable[[bytes], int] = len
    ) -> Iterator[tuple[MemcacheServer, list[bytes]]]:
        """Yield keys by servers, as many at a time as fit into one request; ``size``: bytes that a key adds to it."""
        mine: dict[MemcacheServer, list[bytes]] = {}
        for key in keys:
            mine.setdefault(self.of(key), []).append(key)
        for server, all_keys in mine.items():
            part: list[bytes] = []
            total = 0
            for key in all_keys:
                weight = size(key)
                if part and (len(part) >= MAX_REQUEST_KEYS or total + weight > MAX_REQUEST_BYTES):
                    yield server, part
                    part, total = [], 0
                part.append(key)
                total += weight
            yield server, part

    def close(self) -> None:
        """Close the connections that are not in use."""
        for server in self._servers:
            server.close()
