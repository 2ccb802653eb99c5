"""memcached, from the machine."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence

from gearmesh.testing.servers import Server, ServerMissing

__all__ = ["MemcachedServer", "find_memcached"]


def find_memcached() -> str:
    """The path of a memcached: ``GEARMESH_MEMCACHED``, else the one on PATH. Raises ServerMissing."""
    if path := os.environ.get("GEARMESH_MEMCACHED") or shutil.which("memcached"):
        return path
    raise ServerMissing("no memcached: apt-get install memcached")


class MemcachedServer(Server):
    """One ``memcached`` process; a context manager that starts and removes it. It keeps nothing on disk.

    Args:
        port: TCP port; None takes a free one.
        memory: MiB it may hold before it forgets the least used.
        unixsocket: listen on a Unix socket, see :attr:`socket_path`, and not on the port.
        args: more arguments of memcached, e.g. ``["-I", "4m"]``.
        binary: path of the program; None looks for it with :func:`find_memcached`.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no memcached on this machine.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        memory: int = 64,
        unixsocket: bool = False,
        args: Sequence[str] = (),
        binary: str | None = None,
        timeout: float = 20.0,
    ) -> None:
        self._binary = binary or find_memcached()
        super().__init__("memcached", port=port, timeout=timeout)
        #: The Unix socket's path; ``""`` without one.
        self.socket_path = str(self.folder / "memcached.sock") if unixsocket else ""
        self._args = ["-m", str(memory), *args]
        if os.geteuid() == 0:
            self._args += ["-u", "root"]  # else it refuses to run

    @property
    def address(self) -> str:
        """``127.0.0.1:<port>``, or the socket's path: as it stands in a URL of several."""
        return self.socket_path or f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """``memcache://`` and its address."""
        return f"memcache://{self.address}"

    def _command(self) -> list[str]:
        if self.socket_path:
            return [self._binary, "-s", self.socket_path, *self._args]
        return [self._binary, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", *self._args]

    def _ready(self, offset: int) -> bool:
        # memcached logs nothing. Another server may have taken the port, so compare the process id of the answer.
        try:
            with socket.socket(socket.AF_UNIX if self.socket_path else socket.AF_INET) as sock:
                sock.settimeout(1.0)
                sock.connect(self.socket_path or ("127.0.0.1", self.port))
                sock.sendall(b"stats\r\nquit\r\n")
                return f"STAT pid {self.pid}\r\n".encode() in sock.makefile("rb").read()
        except (OSError, RuntimeError):
            return False
