"""Keeps revoked tasks, one document for each. Each watch reads them twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from bson.datetime_ms import DatetimeMS

from gearmesh.backends.listener import Listener
from gearmesh.backends.mongodb.connection import Connection, Table, asking
from gearmesh.backends.mongodb.documents import moment
from gearmesh.backends.mongodb.writing import Change, update_all
from gearmesh.wire.names import MONGO_REVOKED

__all__ = ["Revoked"]

#: Seconds between two reads of a watch.
POLL_INTERVAL_S = 0.5
#: A read also covers this many milliseconds before the newest revocation that was read, since a write takes effect some
#: time after its ``at``.
POLL_OVERLAP_MS = 5000

#: Called with UUIDs, and the seconds for which each is revoked.
Wake = Callable[[dict[str, float]], None]


class Revoked:
    """Keeps the UUIDs of revoked tasks in a MongoDB collection, for
    :class:`gearmesh.interfaces.backend.SupportsRevocation`. A single mongod announces nothing, so each watch polls.

    Args:
        connection: this process's connection. Each document is ``{_id: UUID, delete_at: the end of the revocation, at:
            when it was stored, by the server's clock}``.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listeners: set[Listener] = set()

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        """Store revocations. A revocation never becomes shorter."""
        change = {"$max": {"delete_at": moment(time.time() + seconds)}, "$currentDate": {"at": True}}
        update_all(self._connection.indexed_table(MONGO_REVOKED), [Change(uuid, change) for uuid in uuids])

    def known(self) -> dict[str, float]:
        """Return the UUIDs that are revoked now, with the seconds for which they still are."""
        return _left(
            (one["_id"], int(one["delete_at"])) for one in _look(self._connection.table(MONGO_REVOKED), None)
        )

    def watch(self, wake: Wake) -> Callable[[], None]:
        """Call ``wake`` with all revocations, and then with new ones. Returns a function that ends the watch."""
        listener = Listener(self._looks, "revocations")
        self._listeners.add(listener)
        listener.watch(lambda words: wake(_left(map(_heard, words))))

        def stop() -> None:
            self._listeners.discard(listener)
            listener.close()

        return stop

    def close(self) -> None:
        """End all watches."""
        while self._listeners:
            self._listeners.pop().close()

    def _looks(self) -> Generator[list[str], None, None]:
        """Read again and again, and yield the text of each revocation that the last read did not find."""
        told: dict[str, Any] = {}
        since: int | None = None
        table = self._connection.table(MONGO_REVOKED)
        while True:
            found = _look(table, since)
            fresh = [one for one in found if told.get(one["_id"]) != one["at"]]
            told = {one["_id"]: one["at"] for one in found}
            since = max([since or 0, *(int(one["at"]) - POLL_OVERLAP_MS for one in found)])
            yield [f"{int(one['delete_at'])} {one['_id']}" for one in fresh]
            time.sleep(POLL_INTERVAL_S)


def _look(table: Table, since: int | None) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"delete_at": {"$gt": moment(time.time())}}
    if since is not None:
        query["at"] = {"$gt": DatetimeMS(since)}
    with asking():
        return list(table.find(query))


def _heard(word: str) -> tuple[str, int]:
    end, _, uuid = word.partition(" ")
    return uuid, int(end)


def _left(ends: Iterable[tuple[str, int]]) -> dict[str, float]:
    now = time.time()
    return {uuid: end_ms / 1000 - now for uuid, end_ms in ends}
