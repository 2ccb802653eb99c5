"""States and groups in DynamoDB, in Machinery's layout."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from gearmesh.backends.dynamodb import side_items
from gearmesh.backends.dynamodb.changes import change_all
from gearmesh.backends.dynamodb.connection import (
    CONNECTION_ERRORS,
    ConditionFailed,
    Connection,
    ItemTooLarge,
    client_for,
)
from gearmesh.backends.dynamodb.items import (
    FINAL_STATES,
    Item,
    changes_of,
    expired,
    expiry,
    group_item,
    group_of,
    state_of,
    too_large,
    triggered_by,
)
from gearmesh.backends.dynamodb.keep_alive import keep_groups_alive, keep_states_alive
from gearmesh.backends.dynamodb.requests import Condition, delete_all, get_all, update
from gearmesh.backends.dynamodb.revocations import DynamoDBRevocations
from gearmesh.backends.dynamodb.tables import check_tables, making_command, tables_of
from gearmesh.backends.write_order import records_first
from gearmesh.bounded_dict import BoundedDict
from gearmesh.commits.group_cache import GroupCache
from gearmesh.config import DynamoDBConfig
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.backend import Wake
from gearmesh.process_local import ProcessLocal
from gearmesh.urls import DynamoDBTarget
from gearmesh.wire.names import DYNAMODB_EXPIRES, DYNAMODB_TRIGGERED_BY, PREFIX, task_report
from gearmesh.wire.state import SUCCESS, GroupMeta, TaskState

__all__ = ["DynamoDBBackend"]

log = logging.getLogger("gearmesh.dynamodb")

#: Seconds for which a locked group is left to Go. Go locks a group only for moments, but the lock of a Go worker that
#: dies then stays.
GROUP_LOCK_TIMEOUT_S: Final = 8.0
#: Locked groups that are remembered.
MAX_LOCKED_GROUPS: Final = 1000
#: Go's UUIDs of tasks begin so. The backend searches for none of them among the groups.
_TASK_PREFIX: Final = "task_"


class DynamoDBBackend:
    """Keeps states and groups in two DynamoDB tables; a :class:`gearmesh.interfaces.backend.Backend`. It can't announce
    final states, since DynamoDB announces no changes to it.

    Args:
        target: the address of DynamoDB.
        config: the names of the tables, and the client if the caller has one.
        expire: seconds for which a state lives after its last write.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True
    #: See :class:`gearmesh.interfaces.backend.PaidByRead`.
    min_poll_interval_s = 0.05

    def __init__(self, target: DynamoDBTarget, config: DynamoDBConfig, *, expire: int) -> None:
        self.expire = expire
        self._target = target
        self._config = config
        self._states, self._groups_table = tables_of(config)
        self._pid = os.getpid()
        self._connection = ProcessLocal(self._connect)
        self._groups = GroupCache(self.read_group, self.touch, expire)
        self._revocations = ProcessLocal(lambda: DynamoDBRevocations(self._ready, self._states))
        #: group -> monotonic time at which it was first seen locked
        self._locked = BoundedDict[str, float](MAX_LOCKED_GROUPS)

    # -- states

    def write(self, states: Sequence[TaskState]) -> None:
        self._write(states, ())

    def write_unless_success(self, states: Sequence[TaskState]) -> None:
        self._write(states, (SUCCESS,))

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        now = time.time()
        found = get_all(self._ready(), self._states, uuids)
        states = {uuid: state_of(item) for uuid, item in found.items() if not expired(item, now)}
        return [states.get(uuid) for uuid in uuids]

    def find_uuids(self, prefix: str, limit: int) -> list[str]:
        found: list[str] = []
        for table, attribute in ((self._states, "State"), (self._groups_table, "TaskUUIDs")):
            for item in self._scan(table.name, table.key, attribute, prefix):
                if len(found) >= limit:
                    return found
                found.append(item[table.key]["S"])
        return found

    def walk_states(self, cursor: str, count: int) -> tuple[str, list[TaskState | GroupMeta]]:
        """Take one step of a walk. AWS charges for each item that a step reads."""
        groups, _, after = cursor.partition(":") if cursor else ("", "", "")
        table = self._groups_table if groups else self._states
        request: dict[str, Any] = {"TableName": table.name, "Limit": count}
        if after:
            request["ExclusiveStartKey"] = table.keys(after)
        answer = self._ready().call("scan", **request)
        items: list[Item] = [item for item in answer.get("Items", ()) if not expired(item)]
        if groups:
            found: list[TaskState | GroupMeta] = [group_of(item) for item in items]
        else:
            found = [state_of(item) for item in items if "State" in item]
        if last := answer.get("LastEvaluatedKey"):
            return f"{groups}:{last[table.key]['S']}", found
        return "" if groups else "groups:", found

    def touch(self, uuids: Sequence[str]) -> None:
        if uuids:
            connection = self._ready()
            keep_states_alive(connection, self._states, uuids, self.expire)
            keep_groups_alive(connection, self._groups_table, _groups_among(uuids), self.expire)

    def purge(self, uuids: Sequence[str]) -> None:
        if uuids:
            connection = self._ready()
            reports = [task_report(uuid) for uuid in uuids if not uuid.startswith(PREFIX)]
            delete_all(connection, self._states, [*uuids, *reports])
            delete_all(connection, self._groups_table, _groups_among(uuids))

    # -- groups

    def create_group(self, meta: GroupMeta) -> None:
        item = group_item(meta, expiry(self.expire))
        try:
            self._ready().call("put_item", TableName=self._groups_table.name, Item=item)
        except ItemTooLarge as exc:
            raise too_large(meta.GroupUUID, item) from exc

    def read_group(self, group_uuid: str) -> GroupMeta | None:
        item = get_all(self._ready(), self._groups_table, [group_uuid]).get(group_uuid)
        return None if item is None or expired(item) else group_of(item)

    def finished(self, meta: GroupMeta) -> bool:
        return self._groups.finished(meta, self._leading)

    def trigger(self, group_uuid: str, by: str) -> bool:
        """Take the trigger by one conditional update, which also stores the winner in an attribute that Go ignores.

        Go: reads the item, sets ``Lock``, then ``ChordTriggered``, then takes the lock away, all without a condition.
        So a Go worker that has read the item before this update fires, too (its callback has the same UUID).
        """
        ignoring = self._may_ignore_lock(group_uuid)
        unlocked = "" if ignoring else " AND NOT #Lock = :true"
        free = Condition(
            f"attribute_exists(#GroupUUID) AND NOT #ChordTriggered = :true{unlocked}",
            ("GroupUUID",) if ignoring else ("GroupUUID", "Lock"),
            {"true": {"BOOL": True}},
        )
        fields: Item = {
            "ChordTriggered": {"BOOL": True},
            "TTL": {"N": str(expiry(self.expire))},
            DYNAMODB_TRIGGERED_BY: {"S": by},
        }
        connection = self._ready()
        try:
            update(connection, self._groups_table, group_uuid, fields, condition=free, old=True)
            return True
        except ConditionFailed as exc:
            found = exc.item or get_all(connection, self._groups_table, [group_uuid]).get(group_uuid)
        if not found:
            raise BackendError(f"group {group_uuid!r}: there is no GroupMeta (any more)")
        if not group_of(found).ChordTriggered:
            self._locked.setdefault(group_uuid, time.monotonic())
            raise ChordBusy(f"group {group_uuid}: its meta is locked by another worker")
        return by != "" and triggered_by(found) == by

    def _may_ignore_lock(self, group_uuid: str) -> bool:
        """Return True once a group has been seen locked for so long that no worker triggers it any more."""
        since = self._locked.get(group_uuid)
        if since is None or time.monotonic() - since < GROUP_LOCK_TIMEOUT_S:
            return False
        log.warning("group %s was locked for %g s: its lock is ignored", group_uuid, GROUP_LOCK_TIMEOUT_S)
        return True

    def _leading(self, uuids: Sequence[str]) -> int:
        attributes = (self._states.key, "State", "TTL", DYNAMODB_EXPIRES)
        found = get_all(self._ready(), self._states, uuids, attributes)
        now = time.time()
        for count, uuid in enumerate(uuids):
            item = found.get(uuid)
            if item is None or item.get("State", {}).get("S") not in FINAL_STATES or expired(item, now):
                return count
        return len(uuids)

    # -- items that Go does not see

    def report(self, bodies: Mapping[str, bytes]) -> None:
        if bodies:
            side_items.write_reports(self._ready(), self._states, bodies, self.expire)

    def reports(self, uuids: Sequence[str]) -> list[bytes | None]:
        return side_items.read_reports(self._ready(), self._states, uuids)

    def revoke(self, uuids: Sequence[str], seconds: float) -> None:
        self._revocations.get().revoke(uuids, seconds)

    def revoked(self) -> dict[str, float]:
        return self._revocations.get().known()

    def watch_revoked(self, wake: Callable[[dict[str, float]], None]) -> Callable[[], None]:
        return self._revocations.get().watch(wake)

    def claim(self, key: str, holder: str, seconds: float) -> str:
        return side_items.claim(self._ready(), self._states, key, holder, seconds)

    def release(self, claims: Sequence[tuple[str, str]]) -> None:
        side_items.release(self._ready(), self._states, claims)

    def watch(self, wake: Wake) -> None:
        """Return None, since DynamoDB announces nothing to a client that reads items."""

    def close(self) -> None:
        revocations, connection = self._revocations.pop(), self._connection.pop()
        if revocations is not None:
            revocations.close()
        if connection is not None:
            connection.close()

    # -- requests

    def _connect(self) -> Connection:
        forked = os.getpid() != self._pid
        client = client_for(self._target, self._config.client, forked=forked)
        command = making_command(self._target, self._config)
        return Connection(client, command, owned=self._config.client is None)

    def _ready(self) -> Connection:
        """Return this process's connection. The first call checks the tables."""
        connection = self._connection.get()
        if not connection.checked:
            check_tables(connection, self._target, self._config)
            connection.checked = True
        return connection

    def _write(self, states: Sequence[TaskState], spared: tuple[str, ...]) -> None:
        now = time.time()
        for part in records_first(states):
            changes, refused = changes_of(part, expiry(self.expire, now), spared=spared)
            change_all(self._ready(), self._states, changes, now)
            if refused is not None:
                raise refused

    def _scan(self, table: str, key: str, attribute: str, prefix: str) -> Iterator[Item]:
        """Read a table for items that have the attribute and a key with this beginning, and have not expired."""
        names = {key, attribute, "TTL", DYNAMODB_EXPIRES}
        where = f"attribute_exists(#{attribute})" + f" AND begins_with(#{key}, :prefix)" * bool(prefix)
        request: dict[str, Any] = {
            "TableName": table,
            "FilterExpression": where,
            "ProjectionExpression": f"#{key}, #TTL, #{DYNAMODB_EXPIRES}",
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
        }
        if prefix:
            request["ExpressionAttributeValues"] = {":prefix": {"S": prefix}}
        while True:
            answer = self._ready().call("scan", **request)
            yield from (item for item in answer.get("Items", ()) if not expired(item))
            if not (last := answer.get("LastEvaluatedKey")):
                return
            request["ExclusiveStartKey"] = last


def _groups_among(uuids: Sequence[str]) -> list[str]:
    """Return the UUIDs that may be a group's, which never begins like a task's in Machinery and gearmesh."""
    return [uuid for uuid in uuids if not uuid.startswith((_TASK_PREFIX, PREFIX))]
