"""Makes certificates for one test, by ``openssl``: an authority, and a server's and a client's that it has signed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gearmesh.testing.servers import ServerMissing

__all__ = ["Certificates"]


@dataclass(frozen=True)
class Certificates:
    """PEM files in one folder.

    Attributes:
        ca: the authority's certificate.
        server: a server's, for ``localhost`` and ``127.0.0.1``.
        server_key: its key.
        client: a client's.
        client_key: its key.
    """

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make all of them; about 0.1 s. Raises ServerMissing without openssl."""
        if shutil.which("openssl") is None:
            raise ServerMissing("no openssl: apt-get install openssl")
        ca, ca_key = folder / "ca.pem", folder / "ca.key"
        _run(f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=ca "
             f"-keyout {ca_key} -out {ca}")  # fmt: skip
        files = []
        for name in ("server", "client"):
            key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
            names = folder / f"{name}.ext"
            names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            _run(f"req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} "
                 f"-keyout {key} -out {request}")  # fmt: skip
            _run(f"x509 -req -in {request} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 30 "
                 f"-extfile {names} -out {certificate}")  # fmt: skip
            files += [certificate, key]
        return cls(ca, *files)

    @property
    def redis(self) -> dict[str, Any]:
        """Keyword arguments of a ``redis.Redis`` that speaks TLS as the client."""
        return {
            "ssl": True,
            "ssl_ca_certs": str(self.ca),
            "ssl_certfile": str(self.client),
            "ssl_keyfile": str(self.client_key),
        }


def _run(arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments.split()[0]} failed: {done.stderr.strip()}")
