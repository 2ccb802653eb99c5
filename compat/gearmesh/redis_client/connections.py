"""Redis connections that raise a server's condition as a connection error.

A replica, or a full, loading or busy server answers, but cannot do its work now. To a caller this is no different from
an unreachable server: it waits and repeats. So these answers are raised as connection errors, which also drops the
connection: the next one may find the master.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any, Final

import redis
from redis import exceptions
from redis.exceptions import ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError

from gearmesh.errors import ConfigError
from gearmesh.process_local import OWN_SOCKETS
from gearmesh.urls.addresses import shown_address

__all__ = [
    "CONNECTION_ERRORS",
    "Connection",
    "NodeConnection",
    "SSLConnection",
    "SSLNodeConnection",
    "SentinelConnection",
    "SentinelSSLConnection",
    "ServerUnable",
    "UnixConnection",
]


class ServerUnable(exceptions.ConnectionError):
    """The server answers, but cannot do its work now: try again later."""


#: The errors after which every caller tries again.
CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
)

#: Error codes of a server's condition. If the server refuses a command inside a script, the code may be anywhere in the
#: text. UNBLOCKED: a master that becomes a replica ends its clients' blocking commands with this code.
_CONDITION = re.compile(
    r"\b(READONLY|OOM|MISCONF|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|UNBLOCKED)\b"
)

#: Seconds for which a server counts as the master, once sentinels have said so.
MASTER_CHECK_INTERVAL_S: Final = 1.0

#: redis-py removes the code from the text of errors for which it has a class. MasterDownError is a ClusterDownError.
_CONDITIONS: Final = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError)


#: Bytes of an answer that a connection reads at once.
MAX_READ_BYTES: Final = 65_536


class _Conditions:
    #: True: the connection leads to a node of a cluster, and the client follows redirections.
    follows = False

    def _connect(self) -> Any:  # redis-py calls it whenever it opens a socket
        sock = super()._connect()  # type: ignore[misc]
        OWN_SOCKETS.add(sock)
        return sock

    def exchange(self, command: bytes) -> Any:
        """Send a packed command and return its answer, over a connection that no other thread uses."""
        self.send_packed_command((command,))  # type: ignore[attr-defined]
        return self.read_response()

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except exceptions.AskError:  # MovedError is one
            if self.follows:
                raise
            raise ConfigError(
                "this Redis is a node of a cluster and does not keep all keys: name several of its hosts in the URL "
                "(redis://host:port,host:port), or set redis.cluster_enabled"
            ) from None
        except exceptions.ResponseError as exc:
            if isinstance(exc, _CONDITIONS) or _CONDITION.search(str(exc)):
                raise ServerUnable(f"Redis cannot do its work now: {exc}") from exc
            raise


class _ViaSentinels:
    """Asks the sentinels for the master each time it connects, and once a second while it is used.

    A master that is replaced while it lives accepts writes for about 10 s until it learns of that, and then loses them.

    Args:
        sentinels: a :class:`~.sentinels.Sentinels`.
    """

    host: str
    port: int
    _sock: Any

    def __init__(self, *args: Any, sentinels: Any, **kwargs: Any) -> None:
        self._sentinels = sentinels
        #: when the sentinels last said that this is the master
        self._confirmed = 0.0
        super().__init__(*args, **kwargs)

    def _connect(self) -> Any:
        self.host, self.port = self._sentinels.master()
        self._confirmed = time.monotonic()
        return super()._connect()  # type: ignore[misc]

    def send_packed_command(self, *args: Any, **kwargs: Any) -> Any:
        if self._sock is not None and time.monotonic() - self._confirmed > MASTER_CHECK_INTERVAL_S:
            try:
                self.confirm()
            except ServerUnable:
                raise
            except CONNECTION_ERRORS:  # no sentinel answers: keep using this server
                self._confirmed = time.monotonic()
        return super().send_packed_command(*args, **kwargs)  # type: ignore[misc]

    def confirm(self) -> None:
        """Ask whether this is still the master. Raises connection errors if it is not, or if no sentinel answers."""
        host, port = self._sentinels.master()
        if (host, port) != (self.host, self.port):
            self.disconnect()  # type: ignore[attr-defined]
            raise ServerUnable(
                f"the master is {shown_address(host, port)} now, and no longer {shown_address(self.host, self.port)}"
            )
        self._confirmed = time.monotonic()


class _AnswerSocket(socket.socket):
    """Gives redis-py the bytes that :meth:`_Direct.exchange` has read but cannot parse."""

    unread = b""

    def recv(self, size: int, *flags: int) -> bytes:
        if self.unread:
            data, self.unread = self.unread[:size], self.unread[size:]
            return data
        return super().recv(size, *flags)

    def recv_into(self, buffer: Any, *args: int) -> int:
        if self.unread:
            data = self.recv(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        return super().recv_into(buffer, *args)


_receive = socket.socket.recv  # quicker than _AnswerSocket's, which has no unread bytes then


class _Direct(_Conditions):
    """Writes a command and reads a short answer without redis-py, which would need as long for both as Redis for a
    script. redis-py reads any other answer.
    """

    _sock: Any
    next_health_check: Any

    def _connect(self) -> Any:
        made = super()._connect()
        timeout = made.gettimeout()
        sock = _AnswerSocket(made.family, made.type, made.proto, fileno=made.detach())
        sock.settimeout(timeout)
        OWN_SOCKETS.add(sock)
        return sock

    def exchange(self, command: bytes) -> Any:
        sock = self._sock
        if (
            sock is None or time.monotonic() > self.next_health_check
        ):  # redis-py connects, or first sends a PING
            return super().exchange(command)
        try:
            try:
                sent = os.write(sock.fileno(), command)  # socket.send() would first poll for room
            except BlockingIOError:
                sent = 0
            if sent < len(command):
                sock.sendall(memoryview(command)[sent:])
            answer = _receive(sock, MAX_READ_BYTES)
        except BaseException as exc:
            self.disconnect()  # type: ignore[attr-defined]
            if not isinstance(exc, OSError):
                raise
            kind = exceptions.TimeoutError if isinstance(exc, TimeoutError) else exceptions.ConnectionError
            raise kind(f"Redis at {self._host_error()} did not answer: {exc}") from exc  # type: ignore[attr-defined]
        if answer.startswith(b"$"):
            size, _, text = answer[1:].partition(b"\r\n")
            if size.isdigit() and len(text) == int(size) + 2:
                return text[:-2]
        sock.unread = answer
        return self.read_response()


class Connection(_Direct, redis.Connection):
    """Connects to Redis over TCP."""


class SSLConnection(_Conditions, redis.SSLConnection):
    """Connects to Redis over TLS."""


class UnixConnection(_Direct, redis.UnixDomainSocketConnection):
    """Connects to Redis through a socket file."""


class NodeConnection(_Conditions, redis.Connection):
    """Connects to a node of a Redis cluster over TCP."""

    follows = True


class SSLNodeConnection(_Conditions, redis.SSLConnection):
    """Connects to a node of a Redis cluster over TLS."""

    follows = True


class SentinelConnection(_ViaSentinels, _Conditions, redis.Connection):
    """Connects over TCP to the Redis master that sentinels name."""


class SentinelSSLConnection(_ViaSentinels, SSLConnection):
    """Connects over TLS to the Redis master that sentinels name."""
