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
#: Bytes of a Unix socket's path; the lowest limit of all systems is 104, including the zero at the end.
_MAX_SOCKET_PATH_BYTES: Final = 100


def socket_of(project: str | os.PathLike[str]) -> Path:
    """Return the path of the socket of a project's Redis, even if the Redis does not run.

    The socket is in the project, unless its path would be too long for a socket, or would have a ``:`` or ``@``,
    which Machinery's URL form cannot express. Then it is in this user's own temporary folder.
    """
    path = Path(project).resolve() / FOLDER / "redis.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES and not set(str(path)) & set(":@"):
        return path
    digest = hashlib.sha1(os.fsencode(path), usedforsecurity=False).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"gearmesh-{os.getuid()}", f"{digest}.sock")


def local_url(project: str | os.PathLike[str] | None = None) -> str | None:
    """Return the URL of the Redis that ``gearmesh dev`` runs for a project; None if it does not run.

    Args:
        project: the project's folder; None: the working directory.
    """
    path = socket_of(os.getcwd() if project is None else project)
    try:
        found = path.stat()
        # Another user's socket must not get this user's tasks.
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
            return None
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1.0)
            sock.connect(str(path))
    except OSError:  # there is no socket, or its server has ended
        return None
    return f"redis+socket://{path}:/0"
