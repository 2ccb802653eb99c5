"""Keeps how many tasks of a queue have ended in each minute of the last hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gearmesh.interfaces.listing import HISTORY_BLOCK_MINUTES, Minutes
from gearmesh.transports.redis.connection import ConnectedChannel

__all__ = ["History"]

#: Seconds for which a block of minutes is kept after its last write.
BLOCK_TTL_S: Final = 3 * 3600


class History:
    """Has the verbs of :class:`gearmesh.interfaces.listing.SupportsHistory`, over a hash for each queue and hour.

    Its fields are ``MINUTE:OUTCOME``, where MINUTE is a Unix time in minutes.
    """

    def __init__(self, channel: ConnectedChannel) -> None:
        self._channel = channel

    def add_history(self, queue: str, minute: int, counts: Mapping[str, int]) -> None:
        key = self._channel.keys(queue).history(minute // HISTORY_BLOCK_MINUTES)
        for word, count in counts.items():
            self._channel.redis.hincrby(key, f"{minute}:{word}", count)
        self._channel.redis.expire(key, BLOCK_TTL_S)

    def history(self, queues: Sequence[str], start: int, end: int) -> dict[str, Minutes]:
        found: dict[str, Minutes] = {}
        for queue in queues:
            minutes: Minutes = {}
            for block in range(start // HISTORY_BLOCK_MINUTES, (end - 1) // HISTORY_BLOCK_MINUTES + 1):
                for field, count in self._channel.redis.hgetall(
                    self._channel.keys(queue).history(block)
                ).items():
                    at, _, word = field.decode("utf-8", "replace").partition(":")
                    if at.isdecimal() and start <= int(at) < end and count.lstrip(b"-").isdigit():
                        minutes.setdefault(int(at), {})[word] = int(count)
            found[queue] = minutes
        return found
