"""Reads messages from any position, and finds queues step by step, so that a dashboard does bounded work."""

from __future__ import annotations

from typing import Final

from gearmesh.interfaces.transport import DeadLetter, DelayedMessage
from gearmesh.redis_client.scanning import scan_step
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.transports.redis.inspection import Inspector, delayed_message, letter_of
from gearmesh.wire.names import PREFIX, queue_of

__all__ = ["Pager"]

#: Beginnings of the cursors of a walk's two passes: over the keys of gearmesh, and over all lists.
_OWN: Final = "own:"
_LISTS: Final = "lists:"


class Pager:
    """Reads messages from any position, for :class:`gearmesh.interfaces.listing.SupportsPaging`."""

    def __init__(self, channel: ConnectedChannel, inspector: Inspector) -> None:
        self._channel = channel
        self._inspector = inspector

    def pending_page(self, queue: str, start: int, count: int) -> list[bytes]:
        items: list[bytes] = self._channel.redis.lrange(queue, start, start + count - 1)
        return items

    def delayed_page(self, start: int, count: int) -> list[DelayedMessage]:
        key = self._channel.delayed_key
        rows = self._channel.redis.zrange(key, start, start + count - 1, withscores=True)
        return [delayed_message(body, score) for body, score in rows]

    def delayed_count(self) -> int:
        return int(self._channel.redis.zcard(self._channel.delayed_key))

    def dead_page(self, queue: str, start: int, count: int) -> list[DeadLetter]:
        keys = self._channel.keys(queue)
        digests = self._channel.redis.zrange(keys.dead, start, start + count - 1)
        with self._channel.redis.pipeline(transaction=False) as pipe:
            for digest in digests:
                pipe.hgetall(keys.dead_entry + digest.decode())
            return [letter_of(queue, row) for row in pipe.execute() if row]

    def walk_queues(self, cursor: str, count: int) -> tuple[str, set[str]]:
        """Walk over gearmesh's keys, whose names contain their queues, and then over all lists: Go's queues are
        lists."""
        if cursor.startswith(_LISTS):
            at, keys = scan_step(self._channel.redis, cursor.removeprefix(_LISTS), count=count, _type="list")
            names = {key: key.decode("utf-8", "replace") for key in keys}
            found = {
                name
                for key, name in names.items()
                if not name.startswith(PREFIX) and self._inspector.is_queue(key)
            }
            return at and _LISTS + at, found
        at, keys = scan_step(self._channel.redis, cursor.removeprefix(_OWN), match=f"{PREFIX}*", count=count)
        owners = {queue_of(key.decode("utf-8", "replace")) for key in keys}
        return (_OWN + at if at else _LISTS), {owner for owner in owners if owner is not None}
