"""Finds the Redis that ``gearmesh dev`` runs for a project."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "local_url", "socket_of"]

#: The folder within a project for the data, the log and the socket of its Redis.
FOLDER: Final = ".gearmesh"
#: Bytes of a Unix socket's path; the least of all systems' limits is 104 with the zero that ends it.
_MAX_SOCKET_PATH_BYTES: Final = 100


def socket_of(project: str | os.PathLike[str]) -> Path:
    """The path of the socket of a project's Redis, which need not run.

    It is in the project, unless that path is too long for a socket, or holds ``:`` or ``@``, which
    Machinery's URL form cannot express. Then it is in a folder of this user's among the temporary ones.
    """
    path = Path(project).resolve() / FOLDER / "redis.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES and not set(str(path)) & set(":@"):
        return path
    digest = hashlib.sha1(os.fsencode(path), usedforsecurity=False).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"gearmesh-{os.getuid()}", f"{digest}.sock")


def local_url(project: str | os.PathLike[str] | None = None) -> str | None:
    """The URL of the Redis that ``gearmesh dev`` runs for a project; None if it does not run.

    Args:
        project: its folder; None: the working directory.
    """
    path = socket_of(os.getcwd() if project is None else project)
    try:
        found = path.stat()
        # Another user's socket must not get our tasks.
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
            return None
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1.0)
            sock.connect(str(path))
    except OSError:  # no socket, or one that its server left behind
        return None
    return f"redis+socket://{path}:/0"
