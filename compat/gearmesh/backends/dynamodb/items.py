"""States and groups as items, in Machinery's layout.

``task_states``: ``{TaskUUID, TaskName, State, Results: [{Type, Value}], Error, CreatedAt, TTL}``; ``group_metas``:
``{GroupUUID, TaskUUIDs, ChordTriggered, Lock, CreatedAt, TTL}``.

``TTL`` is the unix time after which DynamoDB may delete the item. Go leaves it 0 until a task has ended, and so does
gearmesh: the item of a task that may still run keeps the task's name. Until then ``gearmesh_expires``, an attribute of
gearmesh's own, says when the state counts as expired. Go ignores attributes that it does not know.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gearmesh.backends.dynamodb.values import (
    AttributeValue,
    field_of,
    from_attribute,
    text_of,
    to_attribute,
)
from gearmesh.errors import LocalProtocolError, RemoteProtocolError, Unstorable
from gearmesh.wire.gojson.write import unicode
from gearmesh.wire.gotime import canonical, format_ns, is_canonical
from gearmesh.wire.names import DYNAMODB_EXPIRES, DYNAMODB_TRIGGERED_BY, PREFIX
from gearmesh.wire.state import (
    FAILURE,
    PENDING,
    RECEIVED,
    STARTED,
    SUCCESS,
    ZERO_TIME,
    GroupMeta,
    TaskResult,
    TaskState,
)

__all__ = [
    "FINAL_STATES",
    "MAX_ITEM_BYTES",
    "MAX_KEY_BYTES",
    "Change",
    "Item",
    "changes_of",
    "expired",
    "expires_at",
    "expiry",
    "group_item",
    "group_of",
    "is_key",
    "item_bytes",
    "state_of",
    "too_large",
    "triggered_by",
]

#: An item as DynamoDB's API has it.
Item = dict[str, AttributeValue]

#: The largest item that DynamoDB takes: 400 KB, names included.
MAX_ITEM_BYTES: Final = 400 * 1024
#: The longest key.
MAX_KEY_BYTES: Final = 2048
#: RECEIVED and STARTED never replace these.
FINAL_STATES: Final = (SUCCESS, FAILURE)
_NULL: Final[AttributeValue] = {"NULL": True}


def expiry(seconds: float, now: float | None = None) -> int:
    """Return the unix time, in whole seconds, at which an item written now expires: after ``seconds``, rounded up."""
    return math.ceil((time.time() if now is None else now) + seconds)


def expires_at(item: Mapping[str, AttributeValue]) -> int:
    """Return the unix time at which an item expires; 0: never, as Go's states before the final one."""
    return _number(item.get("TTL")) or _number(item.get(DYNAMODB_EXPIRES))


def expired(item: Mapping[str, AttributeValue], now: float | None = None) -> bool:
    """Return True for an item that has expired, which DynamoDB may take two days to delete."""
    return 0 < expires_at(item) <= (time.time() if now is None else now)


def is_key(uuid: str) -> bool:
    """Return True for a text that DynamoDB takes as a key."""
    return 0 < len(uuid) <= MAX_KEY_BYTES // 4 or 0 < len(uuid.encode(errors="replace")) <= MAX_KEY_BYTES


def _number(value: AttributeValue | None) -> int:
    """Read a number, also from a string; return 0 if the item has no such attribute.

    Go: refuses the whole state if its TTL is a string.
    """
    text = (value.get("N") or value.get("S") or "0") if value else "0"
    if text.isdigit():
        return int(text)
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return 0


# -- states


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one task's item.

    Attributes:
        uuid: the task.
        item: the whole item that replaces the stored one; None: only ``fields`` change.
        fields: attributes to set.
        removed: attributes to remove.
        spared: states that are not replaced, unless they have expired.
    """

    uuid: str
    item: Item | None = None
    fields: Item = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()


@dataclass(slots=True)
class _Merged:
    """The states of one write to one task's item, merged.

    Attributes:
        fields: the attributes to set.
        whole: True: the states begin with PENDING, which replaces the whole stored item.
        final: True: the last state is SUCCESS or FAILURE.
        early: True: no state may replace a final one.
    """

    fields: Item = field(default_factory=dict)
    whole: bool = False
    final: bool = False
    early: bool = True

    def then(self, state: TaskState, until: int) -> None:
        """Add the next state."""
        early = state.State in (RECEIVED, STARTED)
        if early and self.final:
            return
        self.early = self.early and early
        self.final = state.final
        if state.State == PENDING:
            # Go: only PENDING brings name and time; the others leave the stored ones in place.
            self.whole = True
            self.fields = {
                "TaskName": {"S": _clean(state.TaskName)},
                "CreatedAt": {"S": _time(state.CreatedAt)},
            }
        self.fields |= {
            "State": {"S": state.State},
            "Results": _results(state),
            "Error": {"S": _clean(state.Error)},
            "TTL": {"N": str(until if state.final else 0)},
        }
        if state.final:
            self.fields.pop(DYNAMODB_EXPIRES, None)
        else:
            self.fields[DYNAMODB_EXPIRES] = {"N": str(until)}

    def change(self, uuid: str, spared: tuple[str, ...]) -> Change:
        """Return the change of the item, which does not replace ``spared`` states."""
        if self.whole and not spared:
            return Change(uuid, {"TaskUUID": {"S": uuid}, **self.fields})
        if uuid.startswith(PREFIX):  # a record of gearmesh's own has no PENDING before it
            unnamed: Item = {"TaskName": {"S": ""}, "CreatedAt": {"S": ZERO_TIME}}
            return Change(uuid, {"TaskUUID": {"S": uuid}, **unnamed, **self.fields})
        removed = () if DYNAMODB_EXPIRES in self.fields else (DYNAMODB_EXPIRES,)
        return Change(uuid, None, self.fields, removed, FINAL_STATES if self.early else spared)


def changes_of(
    states: Iterable[TaskState], until: int, *, spared: tuple[str, ...] = ()
) -> tuple[list[Change], Unstorable | None]:
    """Return one change for each task, and the error about the first state that no item can hold.

    Args:
        states: in order.
        until: unix seconds at which they expire.
        spared: states that are not replaced.
    """
    merged: defaultdict[str, _Merged] = defaultdict(_Merged)
    refused: dict[str, Unstorable] = {}
    for state in states:
        try:
            if not is_key(state.TaskUUID):
                raise Unstorable(state.TaskUUID, f"DynamoDB's keys have 1 to {MAX_KEY_BYTES} bytes")
            merged[state.TaskUUID].then(state, until)
        except Unstorable as exc:
            refused.setdefault(state.TaskUUID, exc)
    changes = [each.change(uuid, spared) for uuid, each in merged.items() if uuid not in refused]
    return changes, next(iter(refused.values()), None)


def state_of(item: Mapping[str, AttributeValue]) -> TaskState:
    """Return the state in an item, by Go or by gearmesh."""
    state, results = text_of(field_of(item, "State")), _elements(field_of(item, "Results"))
    if results is None and state == SUCCESS:
        results = []  # Go: stores nothing for a task that returns nothing
    return TaskState(
        TaskUUID=text_of(field_of(item, "TaskUUID")),
        TaskName=text_of(field_of(item, "TaskName")),
        State=state,
        Results=None if results is None else tuple([from_attribute(each) for each in results]),
        Error=text_of(field_of(item, "Error")),
        CreatedAt=_moment(field_of(item, "CreatedAt")),
    )


def _results(state: TaskState) -> AttributeValue:
    # Go: no results, and results of a task that returns nothing, are both NULL.
    return {"L": [_result(state.TaskUUID, each) for each in state.Results]} if state.Results else _NULL


def _result(uuid: str, result: TaskResult) -> AttributeValue:
    try:
        return to_attribute(result)
    except LocalProtocolError as exc:
        raise Unstorable(uuid, str(exc)) from exc


def _elements(value: AttributeValue | None) -> list[AttributeValue] | None:
    """Return the elements of a list or of a set. Machinery writes no sets, but Go's reader accepts them."""
    for kind, found in (value or {}).items():
        if kind == "L":
            return list(found)
        if kind in ("SS", "NS"):
            return [{kind[0]: each} for each in found]
    return None


def _clean(text: str) -> str:
    return text if text.isascii() else unicode(text)


def _time(text: str) -> str:
    return text or ZERO_TIME  # Go: an empty time cannot be read


def _moment(value: AttributeValue | None) -> str:
    """Read a time as Go does, from text or unix seconds; return the zero time for a value that Go refuses."""
    text = text_of(value) or ZERO_TIME
    try:
        if value and "N" in value:
            return format_ns(_number(value) * 1_000_000_000)
        return text if is_canonical(text) else canonical(text)
    except (LocalProtocolError, RemoteProtocolError):
        return ZERO_TIME


# -- groups


def group_item(meta: GroupMeta, until: int) -> Item:
    """Return the item of a group. Go: it expires from its first moment on."""
    return {
        "GroupUUID": {"S": meta.GroupUUID},
        "TaskUUIDs": {"L": [{"S": uuid} for uuid in meta.TaskUUIDs]},
        "ChordTriggered": {"BOOL": meta.ChordTriggered},
        "Lock": {"BOOL": meta.Lock},
        "CreatedAt": {"S": _time(meta.CreatedAt)},
        "TTL": {"N": str(until)},
    }


def group_of(item: Mapping[str, AttributeValue]) -> GroupMeta:
    """Return the group in an item, by Go or by gearmesh."""
    members = _elements(field_of(item, "TaskUUIDs"))
    return GroupMeta(
        GroupUUID=text_of(field_of(item, "GroupUUID")),
        TaskUUIDs=tuple(map(text_of, members or ())),
        ChordTriggered=(field_of(item, "ChordTriggered") or {}).get("BOOL") is True,
        Lock=(field_of(item, "Lock") or {}).get("BOOL") is True,
        CreatedAt=_moment(field_of(item, "CreatedAt")),
    )


def triggered_by(item: Mapping[str, AttributeValue]) -> str:
    """Return the member that took a group's trigger; ``""``: a Go worker has taken it, or it is not taken."""
    return text_of(item.get(DYNAMODB_TRIGGERED_BY))


# -- sizes


def item_bytes(item: Mapping[str, AttributeValue]) -> int:
    """Return about the size of an item as DynamoDB counts it: names, values, and a little for each list and map."""
    return sum(len(name.encode()) + _bytes_of(value) for name, value in item.items())


def _bytes_of(value: AttributeValue) -> int:
    (kind, given), *_ = value.items()
    if kind == "S":
        return len(given) if given.isascii() else len(given.encode(errors="replace"))
    if kind == "N":
        return len(given) // 2 + 1
    if kind == "B":
        return len(given)
    if kind == "L":
        return 3 + sum(1 + _bytes_of(each) for each in given)
    if kind == "M":
        return 3 + item_bytes(given) + len(given)
    return 1


def too_large(uuid: str, item: Mapping[str, AttributeValue]) -> Unstorable:
    """Return the error about an item that DynamoDB does not take, which names its size and the limit."""
    return Unstorable(
        uuid,
        f"its item has {item_bytes(item):,} bytes, and DynamoDB takes {MAX_ITEM_BYTES:,} (400 KB): return less, or "
        "store the value elsewhere and return where it is",
    )
