"""Runs the scripts of ``lua/``, and tells apart which failures may be repeated."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Any, Final

from redis import exceptions

__all__ = ["CONNECTION_ERRORS", "ServerUnable", "run", "source"]


class ServerUnable(exceptions.ConnectionError):
    """The server answers, but cannot do its work now (replica, full, loading, disk): try again later."""


#: What means "try again", here and in every caller.
CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
)

#: Error codes that tell of the server's condition, not of our command.
_CONDITIONS: Final = (
    "READONLY",
    "OOM",
    "MISCONF",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
)


@cache
def source(name: str) -> tuple[str, str]:
    """A script's text and its SHA-1."""
    text = (resources.files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def run(client: Any, name: str, keys: list[Any], args: list[Any]) -> Any:
    """Run script ``name``.

    Raises:
        ServerUnable: the server's condition forbids it; nothing was done. A replica's connection is
            dropped, so that the next one may find the master.
        redis.exceptions.ResponseError: any other error of the script or its keys.
    """
    text, sha = source(name)
    try:
        try:
            return client.execute_command("EVALSHA", sha, len(keys), *keys, *args)
        except exceptions.NoScriptError:
            return client.execute_command("EVAL", text, len(keys), *keys, *args)
    except exceptions.ResponseError as exc:
        # A command refused inside a script names its code anywhere in the text.
        code = next((c for c in _CONDITIONS if c in str(exc)), "")
        if not code and not isinstance(exc, exceptions.ReadOnlyError | exceptions.OutOfMemoryError):
            raise
        client.connection_pool.disconnect()
        raise ServerUnable(f"Redis cannot run {name}.lua now: {exc}") from exc
