"""Turns Redis's WRONGTYPE into an error that names the key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import redis
from redis import exceptions

from gearmesh.redis_client.connections import CONNECTION_ERRORS

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


def _packed(command: Sequence[Any]) -> bytes:
    """Encode a command as Redis' protocol demands."""
    parts = []
    for each in command:
        data = each if type(each) is bytes else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"*%d\r\n%b" % (len(command), b"".join(parts))


#: True: redis-py 7 or later, which replaces a connection when the server announces a move.
_MOVES: Final = hasattr(redis.Connection, "should_reconnect")


class TypeCheckingRedis(redis.Redis):
    """Names the key in WRONGTYPE errors."""

    def ask(self, *command: Any) -> Any:
        """Send a command and return the answer as it is; used for scripts, whose errors name their keys themselves.

        Over the one connection that a channel keeps, redis-py's retries, callbacks and metrics are of no use, and they
        would take a third of the time of a call of a task.
        """
        connection: Any = self.connection
        if connection is None or (_MOVES and connection.should_reconnect()):
            return super().execute_command(*command)  # type: ignore[no-untyped-call]
        try:
            return connection.exchange(_packed(command))
        except CONNECTION_ERRORS:
            connection.disconnect()
            raise

    def ask_each(self, commands: Iterable[Sequence[Any]], use: Callable[[Any], object]) -> None:
        """:meth:`ask` for each command, and give the answers to ``use``, in order.

        It makes and sends the next command while the server works on the one before.
        """
        connection: Any = self.connection
        if connection is None:
            for command in commands:
                use(self.ask(*command))
            return
        unanswered = 0
        try:
            for command in commands:
                unanswered += 1
                connection.send_packed_command((_packed(command),))
                if unanswered > 1:
                    answer = connection.read_response()
                    unanswered -= 1
                    use(answer)
            while unanswered:
                answer = connection.read_response()
                unanswered -= 1
                use(answer)
        finally:
            if unanswered:  # else a later command would get this answer
                connection.disconnect()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except exceptions.ResponseError as exc:
            fits = [begin for begin in _KEY_TYPES if str(args[0]).startswith(begin)]
            if not fits or len(args) < 2:  # run() knows the types of a script's keys
                raise
            raise named(self, exc, [(args[1], _KEY_TYPES[max(fits, key=len)])]) from exc
