"""States and groups in MongoDB, in Machinery's layout."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from pymongo import DeleteOne
from pymongo.errors import DocumentTooLarge, DuplicateKeyError

from gearmesh.backends.mongodb.connection import CONNECTION_ERRORS, Connection, Table, asking
from gearmesh.backends.mongodb.documents import (
    FINAL_STATES,
    changes_of,
    group_document,
    group_of,
    moment,
    state_of,
)
from gearmesh.backends.mongodb.revocations import Revoked
from gearmesh.backends.mongodb.writing import Change, update_all
from gearmesh.backends.write_order import records_first
from gearmesh.commits.group_cache import GroupCache
from gearmesh.errors import BackendError, Unstorable
from gearmesh.interfaces.backend import Wake
from gearmesh.process_local import ProcessLocal
from gearmesh.urls import MongoTarget
from gearmesh.wire.names import (
    MONGO_CLAIMS,
    MONGO_DATABASE,
    MONGO_GROUPS,
    MONGO_REPORTS,
    MONGO_TASKS,
)
from gearmesh.wire.state import SUCCESS, GroupMeta, TaskState

__all__ = ["MongoBackend"]

log = logging.getLogger("gearmesh.mongodb")

#: UUIDs in one request.
MAX_REQUEST_UUIDS = 1000
#: Sorts behind every other character.
LAST_CHARACTER: Final = "\U0010ffff"


class MongoBackend:
    """Keeps states and groups in two MongoDB collections; a :class:`gearmesh.interfaces.backend.Backend`. It can't
    announce final states.

    Args:
        url: a URL for MongoDB's drivers.
        database: the database's name; ``""``: Machinery's default.
        expire: seconds for which a state lives after its last write. MongoDB deletes expired states once a minute.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True

    def __init__(self, url: str, *, database: str = "", expire: int) -> None:
        self.expire = expire
        self._connection = ProcessLocal(lambda: Connection(url, database or MONGO_DATABASE))
        self._groups = GroupCache(self.read_group, self.touch, expire)
        self._revoked = ProcessLocal(lambda: Revoked(self._connection.get()))

    @classmethod
    def at(cls, target: MongoTarget, *, database: str, expire: int) -> MongoBackend:
        """Make the backend of a URL; ``database``: the database for states if the URL names none.

        Go: a path behind the hosts is the authentication database. A warning tells users who may have meant the
        database for states.
        """
        chosen = target.database or database
        if not target.database and target.logins not in ("", "admin", chosen):
            log.warning(
                "MongoDB: states are stored in the database %r, as Machinery does; %r, the path of the backend's "
                "URL, is only the authentication database. To store states elsewhere, set the URL's option "
                "database=… or the setting mongodb.database",
                chosen,
                target.logins,
            )
        return cls(target.url, database=chosen, expire=expire)

    # -- states

    def write(self, states: Sequence[TaskState]) -> None:
        for part in records_first(states):
            update_all(self._indexed(MONGO_TASKS), changes_of(part, self._until()))

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        for part in records_first(states):
            update_all(self._indexed(MONGO_TASKS), changes_of(part, self._until(), spared=[SUCCESS]))

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        found = {one["_id"]: one for one in self._find(MONGO_TASKS, uuids)}
        return [state_of(found[uuid]) if uuid in found else None for uuid in uuids]

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        found: list[str] = []
        with asking():
            for name in (MONGO_TASKS, MONGO_GROUPS):
                where = {"_id": {"$gte": prefix, "$lt": prefix + LAST_CHARACTER}}
                found += [row["_id"] for row in self._table(name).find(where, {"_id": 1}).limit(limit)]
        return found[:limit]

    def walk_states(self, cursor: str, count: int) -> tuple[str, list[TaskState | GroupMeta]]:
        name, _, after = cursor.partition(":") if cursor else (MONGO_TASKS, "", "")
        with asking():
            rows = list(self._table(name).find({"_id": {"$gt": after}}).sort("_id").limit(count))
        found = [state_of(row) if name == MONGO_TASKS else group_of(row) for row in rows]
        if len(rows) == count:
            return f"{name}:{rows[-1]['_id']}", found
        return f"{MONGO_GROUPS}:" if name == MONGO_TASKS else "", found

    def touch(self, uuids: Sequence[str]) -> None:
        until = time.time() + self.expire
        # A document whose time was set a moment ago need not be written again.
        soon = {"delete_at": {"$not": {"$gte": moment(until - self.expire / 10)}}}
        longer = {"$set": {"delete_at": moment(until)}}
        for part in _parts(uuids):
            with asking():
                for name in (MONGO_TASKS, MONGO_GROUPS):
                    self._table(name).update_many({"_id": {"$in": part}, **soon}, longer)

    def purge(self, uuids: Sequence[str]) -> None:
        for part in _parts(uuids):
            with asking():
                for name in (MONGO_TASKS, MONGO_GROUPS, MONGO_REPORTS):
                    self._table(name).delete_many({"_id": {"$in": part}})

    # -- groups

    def create_group(self, meta: GroupMeta) -> None:
        document = group_document(meta, self._until())
        with asking():
            try:
                self._indexed(MONGO_GROUPS).replace_one({"_id": meta.GroupUUID}, document, upsert=True)
            except DocumentTooLarge as exc:
                why = "its meta is larger than the 16 MiB that MongoDB takes"
                raise Unstorable(meta.GroupUUID, why) from exc

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        with asking():
            found = self._table(MONGO_GROUPS).find_one({"_id": group_uuid})
        return None if found is None else group_of(found)

    def finished(self, meta: GroupMeta) -> bool:
        return self._groups.finished(meta, self._leading)

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Go: makes the same conditional change, but does not check whether it was its own change that succeeded."""
        take = {"$set": {"chord_triggered": True, "triggered_by": by, "delete_at": self._until()}}
        with asking():
            won = self._table(MONGO_GROUPS).update_one(
                {"_id": group_uuid, "chord_triggered": {"$ne": True}}, take
            )
            if won.matched_count:
                return True
            found = self._table(MONGO_GROUPS).find_one({"_id": group_uuid}, {"triggered_by": 1})
        if found is None:
            raise BackendError(f"group {group_uuid}: there is no GroupMeta (any more)")
        return by != "" and found.get("triggered_by") == by

    def _leading(self, uuids: Sequence[str]) -> int:
        found = self._find(MONGO_TASKS, uuids, {"state": {"$in": list(FINAL_STATES)}}, {"_id": 1})
        final = {one["_id"] for one in found}
        return next((count for count, uuid in enumerate(uuids) if uuid not in final), len(uuids))

    # -- documents that Go does not see

    def report(self, bodies: Mapping[str, bytes]) -> None:
        until = self._until()
        changes = [
            Change(uuid, {"$set": {"body": body, "delete_at": until}}) for uuid, body in bodies.items()
        ]
        update_all(self._indexed(MONGO_REPORTS), changes)

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        found = {one["_id"]: bytes(one["body"]) for one in self._find(MONGO_REPORTS, uuids)}
        return [found.get(uuid) for uuid in uuids]

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        self._revoked.get().revoke(uuids, seconds)

    def revoked(self) -> dict[str, float]:
        return self._revoked.get().known()

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        return self._revoked.get().watch(wake)

    def claim(self, key: str, holder: str, seconds: float) -> str:
        while True:
            now = time.time()
            mine = {"$set": {"holder": holder, "delete_at": moment(now + seconds)}}
            over = {"_id": key, "delete_at": {"$lte": moment(now)}}
            with asking():
                try:
                    self._indexed(MONGO_CLAIMS).update_one(over, mine, upsert=True)
                    return holder
                except DuplicateKeyError:
                    found = self._table(MONGO_CLAIMS).find_one({"_id": key})
            if found is not None and int(found["delete_at"]) > now * 1000:  # else it has just ended
                return str(found["holder"])

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        if claims:
            with asking():
                self._table(MONGO_CLAIMS).bulk_write(
                    [DeleteOne({"_id": key, "holder": holder}) for key, holder in claims], ordered=False
                )

    def watch(self, wake: Wake) -> None:
        """Return None, since a single mongod announces nothing."""

    def close(self) -> None:
        revoked, connection = self._revoked.pop(), self._connection.pop()
        if revoked is not None:
            revoked.close()
        if connection is not None:
            connection.close()

    # -- requests

    def _table(self, name: str) -> Table:
        return self._connection.get().table(name)

    def _indexed(self, name: str) -> Table:
        return self._connection.get().indexed_table(name)

    def _until(self) -> DatetimeMS:
        return moment(time.time() + self.expire)

    def _find(
        self,
        name: str,
        uuids: Sequence[str],
        where: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        for part in _parts(uuids):
            with asking():
                yield from list(self._table(name).find({"_id": {"$in": part}, **(where or {})}, fields))


def _parts(uuids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(uuids), MAX_REQUEST_UUIDS):
        yield list(uuids[start : start + MAX_REQUEST_UUIDS])
