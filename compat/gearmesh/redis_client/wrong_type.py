"""Turns Redis's WRONGTYPE into an error that names the key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import redis
from redis import exceptions

__all__ = ["TypeCheckingRedis", "WrongType", "named"]

#: Types of keys by the beginnings of commands; the longest that fits counts.
_KEY_TYPES: Final = {
    "H": "hash",
    "Z": "zset",
    "L": "list",
    "R": "list",
    "BL": "list",
    "S": "set",
    "SET": "string",
    "STRLEN": "string",
    "GET": "string",
    "INCR": "string",
}


class WrongType(exceptions.ResponseError):
    """A key has another type than gearmesh keeps under its name; nothing was changed.

    Attributes:
        key: its name.
        found: its type in Redis.
        expected: the type that gearmesh keeps there.
    """

    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(
            f"the key {key!r} in Redis is a {found}, expected a {expected}: another program uses this name"
        )
        self.key, self.found, self.expected = key, found, expected


def named(
    client: Any, exc: exceptions.ResponseError, keys: Iterable[tuple[Any, str]]
) -> exceptions.ResponseError:
    """Return an error that names the first of ``keys`` whose type is not the one beside it; else ``exc``.

    Raises the client's connection errors.
    """
    if "WRONGTYPE" in str(exc):
        for key, expected in keys:
            found = client.type(key).decode()
            if found not in (expected, "none"):
                name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
                return WrongType(name, found, expected)
    return exc


class TypeCheckingRedis(redis.Redis):
    """Names the key in WRONGTYPE errors."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except exceptions.ResponseError as exc:
            fits = [begin for begin in _KEY_TYPES if str(args[0]).startswith(begin)]
            if not fits or len(args) < 2:  # a script names its keys' types itself
                raise
            raise named(self, exc, [(args[1], _KEY_TYPES[max(fits, key=len)])]) from exc
