"""Keeps revoked tasks. DynamoDB announces nothing, so each watch polls; a poll costs one small read.

Each call of ``revoke`` stores its UUIDs as a chunk, an item of its own, and then names the chunk in one small item, the
index: ``{TaskUUID: "gearmesh:revoked", chunk_<id>: its end, …}``. A watch reads the index, and a chunk only once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final

from gearmesh.backends.dynamodb.connection import Connection
from gearmesh.backends.dynamodb.items import Item, expiry
from gearmesh.backends.dynamodb.requests import KeyedTable, get_all, put_all, update
from gearmesh.backends.listener import Listener
from gearmesh.batching import divided
from gearmesh.wire.names import DYNAMODB_CHUNK, DYNAMODB_UUIDS, REVOKED, dynamodb_revoked

__all__ = ["DynamoDBRevocations"]

#: Seconds between two reads of a watch. A read costs half a read unit.
POLL_INTERVAL_S: Final = 2.0
#: UUIDs, and bytes of them, in one chunk: an item has 400 KB.
MAX_CHUNK_UUIDS: Final = 5000
MAX_CHUNK_BYTES: Final = 300_000
#: The largest number of ended chunks that one call of ``revoke`` removes from the index.
MAX_SWEPT_CHUNKS: Final = 50

#: Called with UUIDs, and the seconds for which each is revoked.
Wake = Callable[[dict[str, float]], None]


class DynamoDBRevocations:
    """Keeps the UUIDs of revoked tasks in DynamoDB, for :class:`gearmesh.interfaces.backend.SupportsRevocation`.

    Args:
        connection: gives this process's connection.
        table: the table of states.
    """

    def __init__(self, connection: Callable[[], Connection], table: KeyedTable) -> None:
        self._connection = connection
        self._table = table
        self._listeners: set[Listener] = set()

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        """Store the UUIDs, then name them in the index."""
        now = time.time()
        ends = {"N": f"{now + seconds:.3f}"}
        until = {"N": str(expiry(seconds, now))}
        connection, fields, chunks = self._connection(), {}, []
        for part in divided(
            list(dict.fromkeys(uuids)), _bytes_of, max_items=MAX_CHUNK_UUIDS, max_bytes=MAX_CHUNK_BYTES
        ):
            chunk = uuid.uuid4().hex[:16]
            fields[DYNAMODB_CHUNK + chunk] = ends
            listed = {"L": [{"S": each} for each in part]}
            chunks.append({**self._table.keys(dynamodb_revoked(chunk)), DYNAMODB_UUIDS: listed, "TTL": until})
        if not chunks:
            return
        put_all(connection, self._table, chunks)
        ended = [chunk for chunk, end in self._index(connection).items() if end <= now]
        swept = [DYNAMODB_CHUNK + chunk for chunk in ended[:MAX_SWEPT_CHUNKS]]
        update(connection, self._table, REVOKED, fields, removed=swept)

    def known(self) -> dict[str, float]:
        """Return all UUIDs that are revoked now, with the seconds for which they still are."""
        connection = self._connection()
        return _left(self._read(connection, self._index(connection)), time.time())

    def watch(self, wake: Wake) -> Callable[[], None]:
        """Call ``wake`` with all revocations, and then with new ones. Returns a function that ends the watch."""
        listener = Listener(self._looks, "revocations")
        self._listeners.add(listener)
        listener.watch(lambda words: wake(_left(map(_heard, words), time.time())))

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
        told: set[str] = set()
        connection = self._connection()
        while True:
            index = self._index(connection, consistent=False)
            fresh = {chunk: end for chunk, end in index.items() if chunk not in told}
            yield [f"{end:.3f} {each}" for each, end in self._read(connection, fresh)]
            told = set(index)
            time.sleep(POLL_INTERVAL_S)

    def _index(self, connection: Connection, *, consistent: bool = True) -> dict[str, float]:
        """Read the chunks that the index names, with their ends in unix seconds."""
        answer = connection.call(
            "get_item", TableName=self._table.name, Key=self._table.keys(REVOKED), ConsistentRead=consistent
        )
        item: Item = answer.get("Item", {})
        return {
            name.removeprefix(DYNAMODB_CHUNK): float(value["N"])
            for name, value in item.items()
            if name.startswith(DYNAMODB_CHUNK)
        }

    def _read(self, connection: Connection, ends: dict[str, float]) -> list[tuple[str, float]]:
        """Read the UUIDs of chunks that have not ended, each with its end."""
        now = time.time()
        lasting = {dynamodb_revoked(chunk): end for chunk, end in ends.items() if end > now}
        found = get_all(connection, self._table, list(lasting))
        return [
            (each["S"], lasting[key])
            for key, item in found.items()
            for each in item.get(DYNAMODB_UUIDS, {}).get("L", ())
        ]


def _bytes_of(text: str) -> int:
    return len(text.encode(errors="replace")) + 2


def _heard(word: str) -> tuple[str, float]:
    end, _, revoked = word.partition(" ")
    return revoked, float(end)


def _left(ends: Iterable[tuple[str, float]], now: float) -> dict[str, float]:
    left: dict[str, float] = {}
    for revoked, end in ends:
        left[revoked] = max(left.get(revoked, 0.0), end - now)
    return {revoked: seconds for revoked, seconds in left.items() if seconds > 0}
