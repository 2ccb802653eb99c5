"""Describes task states and group metas, and finds the faults of their fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from gearmesh.explain.findings import Finding
from gearmesh.explain.sections import Sections
from gearmesh.explain.spans import Span
from gearmesh.explain.values import check_result, show_value
from gearmesh.units import counted
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import (
    FAILURE,
    PENDING,
    RECEIVED,
    RETRY,
    STARTED,
    SUCCESS,
    ZERO_TIME,
    GroupMeta,
    TaskState,
)

__all__ = ["check_group", "check_state", "describe_group", "describe_state"]

#: Members of a group that are listed.
MAX_LISTED_MEMBERS: Final = 12
_MEANING: Final = {
    PENDING: "The task was sent, and no worker has begun it; or it waits for its next try.",
    RECEIVED: "A worker has the message and has not begun to run it.",
    STARTED: "A worker is running the task, or died while running it.",
    RETRY: "The task returned an error, and its worker is about to send it again; PENDING follows at once.",
    SUCCESS: "The task has ended without an error. This state is final.",
    FAILURE: "The task has failed for good, so no retry follows. This state is final.",
}
_RECORD_PREFIX: Final = failure_record("")


def describe_state(state: TaskState, *, broken_results: bool = False) -> Sections:
    """Describe a state, and the value or error that a caller in Go and in Python gets from it.

    ``broken_results``: one of its results cannot be read.
    """
    if state.TaskUUID.startswith(_RECORD_PREFIX):
        return _describe_record(state)
    task = f" {state.TaskName!r}" if state.TaskName else ""
    told = Sections(f"This is the state of a task{task}: {state.State or 'none'}.")
    told.facts += _state_facts(state)
    meaning = _MEANING.get(state.State)
    if meaning:
        told.facts.append(("meaning", meaning))
    if state.State == SUCCESS and broken_results:
        told.go.append('A Go caller\'s Get reads the results, and returns the error under "What is wrong".')
        told.python.append("A gearmesh caller's get() raises an error with the same text.")
    elif state.State == SUCCESS:
        told.go.append(f"A Go caller's Get returns {_returned(state, nothing='an empty list')}.")
        told.python.append(f"A gearmesh caller's get() returns {_returned(state, nothing='None')}.")
    elif state.State == FAILURE:
        told.go.append("A Go caller's Get returns an error with this text.")
        told.python.append(
            "A gearmesh caller's get() raises TaskFailed with this text. If a gearmesh worker ran the task, the "
            f"exception's type and traceback are in a second state, {failure_record(state.TaskUUID)}."
        )
    elif meaning:
        told.go.append("A Go caller's Get goes on waiting, and asks again and again.")
        told.python.append("A gearmesh caller's get() goes on waiting.")
    return told


def _describe_record(state: TaskState) -> Sections:
    told = Sections("This is a failure record: the exception of a task that failed in a gearmesh worker.")
    told.facts.append(("task", state.TaskUUID.removeprefix(_RECORD_PREFIX)))
    try:
        record = msgspec.json.decode(state.Error, type=dict[str, str])
    except msgspec.MsgspecError:
        record = {}
    told.facts += [(name.replace("_", " "), value) for name, value in record.items() if value]
    told.go.append("Go never asks for this state.")
    told.python.append(
        "A caller finds the type and the traceback in TaskFailed, if the task's state still has this record's error."
    )
    return told


def _state_facts(state: TaskState) -> Iterator[tuple[str, str]]:
    yield "UUID", state.TaskUUID or "none"
    for index, result in enumerate(state.Results or ()):
        yield ("result" if index == 0 else ""), f"{result.Type} {show_value(result.Value)}"
    if state.Results == ():
        yield "result", "none: the task returns nothing but an error"
    if state.Error:
        yield "error", state.Error
    yield "sent", _moment(state.CreatedAt)
    if state.TTL:
        yield "expires", f"at unix second {state.TTL} (DynamoDB's TTL)"


def _returned(state: TaskState, *, nothing: str) -> str:
    if not state.Results:
        return nothing
    return f"{counted(len(state.Results), 'value')}: " + ", ".join(
        one.Type or "no type" for one in state.Results
    )


def _moment(text: str) -> str:
    if text != ZERO_TIME:
        return text
    return (
        "not known. Machinery writes the time and the task's name with PENDING. Either this backend does not copy them "
        "to later states, or PENDING had expired before it could"
    )


def check_state(state: TaskState, root: Span, data: bytes) -> Iterator[Finding]:
    """Find the faults in a state's fields."""
    if state.State not in _MEANING:
        yield _about(
            root,
            "State",
            f"{state.State!r} is not a state of Machinery's: expected {', '.join(_MEANING)}",
            "takes it for a task that has not ended: GetWithTimeout ends with its timeout, and Get never returns",
            "takes it for a task that has not ended, too, so get() goes on waiting",
        )
    if not state.TaskUUID:
        yield _about(
            root,
            "TaskUUID",
            "the state has no TaskUUID",
            "reads it all the same, under the key where it is",
            "",
        )
    if state.State == SUCCESS and state.Results is None:
        yield _about(
            root,
            "Results",
            "the Results of a SUCCESS are null",
            "returns an empty list from a caller's Get",
            "returns None from get()",
            "note",
        )
    if state.Results and state.State not in (SUCCESS, ""):
        yield _about(
            root,
            "Results",
            "the state has Results, which only SUCCESS should have",
            "does not look at them",
            "",
            "note",
        )
    if state.State == FAILURE and not state.Error:
        yield _about(
            root,
            "Error",
            "the FAILURE has no error text",
            "returns an error without a text from a caller's Get",
            "",
            "note",
        )
    if state.Error and state.State not in (FAILURE, ""):
        yield _about(
            root,
            "Error",
            "the state has an Error, which only FAILURE should have",
            "does not look at it",
            "",
            "note",
        )
    for index, item in enumerate(root.elements("Results")):
        yield from check_result(item.find("Type"), item.find("Value"), data, f"Results[{index}]")


def describe_group(meta: GroupMeta) -> Sections:
    """Describe a group meta, and the progress of its group as far as the meta shows it."""
    told = Sections(f"This is the meta of a group of {counted(len(meta.TaskUUIDs), 'task')}.")
    told.facts.append(("group", meta.GroupUUID or "none"))
    for index, uuid in enumerate(meta.TaskUUIDs[:MAX_LISTED_MEMBERS]):
        told.facts.append(("members" if index == 0 else "", uuid))
    if len(meta.TaskUUIDs) > MAX_LISTED_MEMBERS:
        told.facts.append(("", f"… and {len(meta.TaskUUIDs) - MAX_LISTED_MEMBERS:,} more"))
    told.facts.append(
        (
            "callback",
            "sent or about to be sent, unless a member has failed: ChordTriggered is true. One worker sets it once all "
            "members have ended"
            if meta.ChordTriggered
            else "never sent, since the group has no members"
            if not meta.TaskUUIDs
            else "not sent: a member has not ended or has failed, or the group has no callback",
        )
    )
    if meta.Lock:
        told.facts.append(("locked", "yes: on Memcache, a worker is about to set ChordTriggered"))
    told.facts.append(("created", meta.CreatedAt if meta.CreatedAt != ZERO_TIME else "not known"))
    told.go.append(
        "If a member of a chord succeeds, its Go worker reads this meta and the states of all members. Once all "
        "have ended, the worker sets ChordTriggered. If none has failed, it then sends the callback."
    )
    told.python.append(
        "A gearmesh worker does the same. If the broker and the results are in one Redis database, it sets "
        "ChordTriggered and sends the callback in one atomic step. Each member that ends renews the expiry of the meta "
        "and of the members' states."
    )
    return told


def check_group(meta: GroupMeta, root: Span) -> Iterator[Finding]:
    """Find the faults in a group meta's fields."""
    if not meta.GroupUUID:
        yield _about(
            root,
            "GroupUUID",
            "the meta has no GroupUUID",
            "reads it all the same, under the key where it is",
            "",
        )
    if not meta.TaskUUIDs:
        yield _about(
            root,
            "TaskUUIDs",
            "the group has no members",
            "never sends a callback: no member can end",
            "does the same",
        )
    seen: set[str] = set()
    for index, item in enumerate(root.elements("TaskUUIDs")):
        uuid = str(item.scalar) if isinstance(item.scalar, str) else ""
        if uuid in seen or not uuid:
            yield Finding(
                level="fault",
                text=f"the member {uuid} is listed twice" if uuid else "a member has no UUID",
                start=item.start,
                end=item.end,
                where=f"TaskUUIDs[{index}]",
                go="counts it as two members; if the number of UUIDs is not GroupTaskCount, the callback is never sent"
                if uuid
                else "waits for a state that no worker writes",
                python="does the same",
            )
        seen.add(uuid)


def _about(root: Span, field: str, text: str, go: str, python: str, level: str = "fault") -> Finding:
    at = root.find(field) or root
    return Finding(
        level="note" if level == "note" else "fault",
        text=text,
        start=at.start,
        end=at.end,
        where=field,
        go=go,
        python=python,
    )
