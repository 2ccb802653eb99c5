"""States and metas as documents, in Machinery's layout.

``tasks``: ``{_id, state, task_name, results: [{type, value}], error, created_at}``; ``group_metas``: ``{_id,
task_uuids, chord_triggered, lock, created_at}``. Machinery v2 adds ``delete_at`` to a task that has ended. gearmesh
writes it into every document, so that the document of a task that never ends is deleted, too. Go ignores fields that it
does not know.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from gearmesh.backends.mongodb.values import from_bson, time_text, to_bson
from gearmesh.backends.mongodb.writing import Change
from gearmesh.errors import LocalProtocolError, Unstorable
from gearmesh.wire.gojson.write import unicode
from gearmesh.wire.gotime import parse
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, ZERO_TIME, GroupMeta, TaskState

__all__ = ["FINAL_STATES", "changes_of", "group_document", "group_of", "moment", "state_of"]


FINAL_STATES: Final = (SUCCESS, FAILURE)


def moment(unix_seconds: float) -> DatetimeMS:
    """A BSON time."""
    return DatetimeMS(int(unix_seconds * 1000))


@dataclass(slots=True)
class _Merged:
    """The states of one write to one task's document, merged.

    Attributes:
        fields: the fields to set.
        unset: the fields to remove.
        final: True: the last state is SUCCESS or FAILURE.
        early: True: the states must not replace a final state.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    unset: set[str] = field(default_factory=set)
    final: bool = False
    early: bool = True

    def then(self, state: TaskState, until: DatetimeMS) -> None:
        """Add the next state."""
        early = state.State in (RECEIVED, STARTED)
        if early and self.final:
            return
        self.early = self.early and early
        self.final = state.final
        if state.State == PENDING:
            # Go: only PENDING brings name and time, the others leave them as they are.
            self.fields |= {"task_name": state.TaskName, "created_at": _time(state.CreatedAt)}
        fields: dict[str, Any] = {"state": state.State, "delete_at": until}
        if state.Results is not None:
            fields["results"] = _results(state)
        if state.Error:
            fields["error"] = unicode(state.Error)
        # Go: results and errors of an earlier try stay.
        self.unset = {"results", "error"} - fields.keys()
        self.fields = {key: value for key, value in self.fields.items() if key not in self.unset} | fields

    def change(self, uuid: str, spared: Sequence[str]) -> Change:
        """Return the change of the document, for the case that its state is not one of ``spared``."""
        update: dict[str, Any] = {"$set": self.fields}
        if self.unset:
            update["$unset"] = dict.fromkeys(sorted(self.unset), "")
        spared = FINAL_STATES if self.early else spared
        return Change(uuid, update, {"state": {"$nin": list(spared)}} if spared else {})


def changes_of(states: Iterable[TaskState], until: DatetimeMS, *, spared: Sequence[str] = ()) -> list[Change]:
    """Make one change for each task; ``until``: when it expires. ``spared``: states that are not replaced.

    Raises:
        Unstorable: no BSON type holds a result.
    """
    merged: defaultdict[str, _Merged] = defaultdict(_Merged)
    for state in states:
        merged[state.TaskUUID].then(state, until)
    return [each.change(uuid, spared) for uuid, each in merged.items()]


def state_of(document: Mapping[str, Any]) -> TaskState:
    """The state in a document, by Go or by gearmesh."""
    results = document.get("results")
    return TaskState(
        TaskUUID=document["_id"],
        TaskName=document.get("task_name") or "",
        State=document.get("state") or "",
        Results=None if results is None else tuple(map(from_bson, results)),
        Error=document.get("error") or "",
        CreatedAt=_text(document.get("created_at")),
    )


def group_document(meta: GroupMeta, until: DatetimeMS) -> dict[str, Any]:
    """The document of a group."""
    return {
        "_id": meta.GroupUUID,
        "task_uuids": list(meta.TaskUUIDs),
        "chord_triggered": meta.ChordTriggered,
        "lock": meta.Lock,
        "created_at": _time(meta.CreatedAt),
        "delete_at": until,
    }


def group_of(document: Mapping[str, Any]) -> GroupMeta:
    """The group in a document, by Go or by gearmesh."""
    return GroupMeta(
        GroupUUID=document["_id"],
        TaskUUIDs=tuple(document.get("task_uuids") or ()),
        ChordTriggered=bool(document.get("chord_triggered")),
        Lock=bool(document.get("lock")),
        CreatedAt=_text(document.get("created_at")),
    )


def _results(state: TaskState) -> list[dict[str, Any]]:
    try:
        return [to_bson(result) for result in state.Results or ()]
    except LocalProtocolError as exc:
        raise Unstorable(state.TaskUUID, str(exc)) from exc


def _time(text: str) -> DatetimeMS:
    return DatetimeMS(parse(text) // 1_000_000)


def _text(value: Any) -> str:
    return time_text(value) if isinstance(value, DatetimeMS) else ZERO_TIME
