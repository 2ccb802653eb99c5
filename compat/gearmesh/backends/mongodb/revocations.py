"""Revoked tasks: one document each, looked for twice a second while anybody wants to know."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from gearmesh.backends.mongodb.connection import CONNECTION_ERRORS, Table, asking
from gearmesh.backends.mongodb.documents import moment
from gearmesh.backends.mongodb.writing import Change, update_all
from gearmesh.backoff import Backoff
from gearmesh.errors import BackendError

__all__ = ["Revoked"]

log = logging.getLogger("gearmesh.mongodb")

#: Seconds between two looks.
POLL_INTERVAL_S = 0.5
#: Milliseconds by which a look goes back behind the newest it has seen: a write takes its time before it takes effect.
POLL_OVERLAP_MS = 5000

#: A look that failed; the next may not.
_RETRYABLE_ERRORS: Final[tuple[type[BaseException], ...]] = (BackendError, *CONNECTION_ERRORS)
#: Called with UUIDs, and the seconds for which each is revoked.
Wake = Callable[[dict[str, float]], None]


class Revoked:
    """See :class:`gearmesh.interfaces.backend.SupportsRevocation`. A single mongod announces nothing, so whoever
    watches looks.

    Args:
        table: gives this process's collection: ``{_id: UUID, delete_at: its end, at: when, by the server's clock}``.
    """

    def __init__(self, table: Callable[[], Table]) -> None:
        self._table = table
        self._watches: set[threading.Event] = set()

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        """Remember these, and for no shorter than they were."""
        change = {"$max": {"delete_at": moment(time.time() + seconds)}, "$currentDate": {"at": True}}
        update_all(self._table(), [Change(uuid, change) for uuid in uuids])

    def known(self) -> dict[str, float]:
        """All that are revoked now."""
        return _left(_look(self._table(), None))

    def watch(self, wake: Wake) -> Callable[[], None]:
        """Tell ``wake`` of all at first, and then of what is new. Returns a function that ends it."""
        over = threading.Event()
        self._watches.add(over)
        threading.Thread(target=self._follow, args=(wake, over), name="gearmesh-revoked", daemon=True).start()

        def stop() -> None:
            self._watches.discard(over)
            over.set()

        return stop

    def close(self) -> None:
        """End all watches."""
        while self._watches:
            self._watches.pop().set()

    def _follow(self, wake: Wake, over: threading.Event) -> None:
        pauses = Backoff()
        told: dict[str, Any] = {}
        since: int | None = None
        table: Table | None = None
        while not over.is_set():
            try:
                table = table if table is not None else self._table()
                found = _look(table, since)
                pauses.reset()
            except _RETRYABLE_ERRORS as exc:
                if over.is_set():  # the connection was closed under us
                    return
                pauses.log(log, "revocations: the subscription is interrupted", exc)
                since, told = None, {}  # all of them again, as soon as it is back
                over.wait(pauses.next())
                continue
            fresh = [one for one in found if told.get(one["_id"]) != one["at"]]
            told = {one["_id"]: one["at"] for one in found}
            since = max([since or 0, *(int(one["at"]) - POLL_OVERLAP_MS for one in found)])
            if fresh and not over.is_set():
                try:
                    wake(_left(fresh))
                except Exception:
                    log.exception("a function that watches revocations raised")
            over.wait(POLL_INTERVAL_S)


def _look(table: Table, since: int | None) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"delete_at": {"$gt": moment(time.time())}}
    if since is not None:
        query["at"] = {"$gt": DatetimeMS(since)}
    with asking():
        return list(table.find(query))


def _left(found: Sequence[dict[str, Any]]) -> dict[str, float]:
    now = time.time()
    return {one["_id"]: int(one["delete_at"]) / 1000 - now for one in found}
