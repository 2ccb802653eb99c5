"""Tells the story of a task, a group or a chord, from its messages in a broker and its states in a result backend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from gearmesh.explain.lookup import LocatedMessage, Lookup
from gearmesh.explain.sections import Sections
from gearmesh.explain.states import describe_state
from gearmesh.explain.text import rendered
from gearmesh.explain.tree import draw
from gearmesh.inspection.times import age, ns_of, span
from gearmesh.units import counted
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, GroupMeta

__all__ = ["story_of"]

#: Members of a group that are listed with their states.
MAX_LISTED_MEMBERS: Final = 20
#: Messages whose places are listed.
MAX_TOLD_MESSAGES: Final = 10


def story_of(found: Lookup, now_ns: int) -> tuple[str, bool]:
    """Return the story as text, and False if nothing is known of the UUID.

    Args:
        found: the result of the lookup.
        now_ns: the time in unix nanoseconds, to write times as ``3 min ago``.
    """
    if found.state is None and found.group is None and not found.messages:
        return _unknown(found), False
    told = Sections(_headline(found))
    told.facts += _facts(found, now_ns)
    told.places = list(_places(found, now_ns))
    told.workflow = _tree(found)
    told.conclusion = list(_conclusions(found))
    return rendered(told, findings=False), True


def _unknown(found: Lookup) -> str:
    told = Sections(f"Nothing is known of {found.uuid}.")
    told.conclusion = [
        "No state of it is stored, and no message that could be seen has this UUID. It was never sent, or its results "
        "have expired and its message is done, or it was sent to another broker. 'gearmesh config show' names the "
        "servers that were asked."
    ]
    if found.unsearched:
        told.conclusion.append(found.unsearched[:1].upper() + found.unsearched[1:] + ".")
    return rendered(told, findings=False)


def _headline(found: Lookup) -> str:
    own = found.own
    if found.group is not None and found.group.GroupUUID == found.uuid:
        callback = _callback_of(found)
        kind = "a chord" if callback is not None else "a group"
        return f"{found.uuid} is {kind} of {counted(len(found.group.TaskUUIDs), 'task')}."
    if found.state is not None:
        name = found.state.TaskName or (own[0].sig.Name if own else "")
        return f"{found.uuid} is a task{f' {name!r}' if name else ''}: {found.state.State}."
    if own:
        return f"{found.uuid} is a task {own[0].sig.Name!r}, of which no state is stored."
    if any(one.sig.GroupUUID == found.uuid for one in found.messages):
        return f"{found.uuid} is a group, of which no meta is stored."
    return f"{found.uuid} is a later step of another task, and was not sent yet."


def _facts(found: Lookup, now_ns: int) -> Iterator[tuple[str, str]]:
    state = found.state
    if state is not None:
        told = describe_state(state)
        yield from ((name, value) for name, value in told.facts if name not in ("UUID", "sent"))
        at = ns_of(state.CreatedAt)
        if at is not None:
            yield "sent", f"{age(at, now_ns)} ({state.CreatedAt})"
    if found.details is not None:
        yield "exception", found.details.exception_type
        if found.details.traceback:
            yield "traceback", found.details.traceback.rstrip()
    if found.progress is not None and (state is None or not state.final):
        total = "" if found.progress.total is None else f" of {found.progress.total:g}"
        yield "progress", f"{found.progress.done:g}{total} {found.progress.note}".rstrip()
    if found.revoked_s is not None:
        yield (
            "revoked",
            f"yes, for {span(found.revoked_s)} more: a gearmesh worker that gets its message stores FAILURE",
        )
    if found.group is not None:
        yield from _group_facts(found, found.group)


def _group_facts(found: Lookup, group: GroupMeta) -> Iterator[tuple[str, str]]:
    states = {uuid: _state_name(found, uuid) for uuid in group.TaskUUIDs}
    if group.GroupUUID != found.uuid:
        yield "group", group.GroupUUID
    counts = ", ".join(f"{count} {name}" for name, count in sorted(Counter(states.values()).items()))
    yield "members", f"{len(states)}: {counts}"
    for uuid in group.TaskUUIDs[:MAX_LISTED_MEMBERS]:
        yield "", f"{uuid}  {states[uuid]}"
    if len(states) > MAX_LISTED_MEMBERS:
        yield "", f"… and {len(states) - MAX_LISTED_MEMBERS:,} more"
    yield "callback", "sent" if group.ChordTriggered else "not sent, if there is one"


def _state_name(found: Lookup, uuid: str) -> str:
    state = found.state if uuid == found.uuid else found.states.get(uuid)
    return state.State if state is not None else "no state"


def _places(found: Lookup, now_ns: int) -> Iterator[str]:
    for one in found.messages[:MAX_TOLD_MESSAGES]:
        yield _place(found, one, now_ns)
    if len(found.messages) > MAX_TOLD_MESSAGES:
        yield f"… and in {counted(len(found.messages) - MAX_TOLD_MESSAGES, 'more message')}."
    if found.unsearched:
        yield f"Not everything was searched: {found.unsearched}."
    elif not found.messages:
        yield "In no message: no waiting, delayed, delivered, parked or dead message has this UUID."


def _place(found: Lookup, one: LocatedMessage, now_ns: int) -> str:
    sig = one.sig
    if found.uuid == sig.UUID:
        who = "Its message"
    elif sig.GroupUUID == found.uuid:
        who = f"Its member {sig.UUID}"
    else:
        who = f"The message of {sig.Name!r}, {sig.UUID}, of which it is a later step,"
    if one.place == "waiting":
        readers = found.consumers.get(one.queue)
        read = "" if readers is None else f"; {counted(readers, 'gearmesh worker')} of that queue"
        return f"{who} waits in queue {one.queue}, behind {counted(one.position, 'message')}{read}."
    if one.place == "delivered":
        doing = one.silence or "runs it or is about to"
        return f"{who} was delivered from queue {one.queue} to the consumer {one.consumer}, which {doing}."
    if one.place == "delayed":
        return f"{who} is delayed until it is due, {age(one.at_ns or 0, now_ns)}, and goes to queue {one.queue} then."
    if one.place == "parked":
        why = (
            f"no worker of queue {one.queue} that got it has registered {sig.Name!r}"
            if one.reason == "unregistered"
            else "the rate of its task is used up"
        )
        return f"{who} is parked: {why}."
    return f"{who} is a dead letter of queue {one.queue}: {one.reason}. See 'gearmesh dead list {one.queue}'."


def _tree(found: Lookup) -> list[str]:
    states = {uuid: state.State for uuid, state in found.states.items() if state is not None}
    if found.state is not None:
        states[found.uuid] = found.state.State
    for one in (*found.own, *found.messages):
        if one.sig.nested():
            return draw(one.sig, states)
    return []


def _callback_of(found: Lookup) -> str | None:
    for one in found.messages:
        if one.sig.GroupUUID == found.uuid and one.sig.ChordCallback is not None:
            return one.sig.ChordCallback.UUID
    return None


def _conclusions(found: Lookup) -> Iterator[str]:
    state, own = found.state, found.own
    if state is not None and state.final and own and own[0].place in ("waiting", "delayed"):
        yield (
            "The state is final, but its message is still there. The task runs again, or its worker only sends its "
            "follow-up tasks."
        )
    if state is not None and not state.final and not own and not found.unsearched:
        yield (
            "The state is not final, and its message is nowhere. A Go worker is running it, and keeps the message only "
            "in its memory; or a Go worker died with it, and the task is lost; or a worker of another broker has it."
        )
    waits = state is not None and state.State == PENDING and own and own[0].place == "waiting"
    if waits and found.consumers.get(own[0].queue) == 0:
        yield f"No gearmesh worker consumes queue {own[0].queue}: start one, or check if a Go worker reads it."
    group = found.group
    if group is None:
        return
    names = [_state_name(found, uuid) for uuid in group.TaskUUIDs]
    if FAILURE in names:
        yield (
            "A member has failed. If this is a chord, its callback is never sent, and the chord's "
            "get() raises ChordMemberFailed."
        )
    elif names and all(name == SUCCESS for name in names) and not group.ChordTriggered:
        yield (
            "All members have succeeded, and no callback was sent. Either the group has no callback, or a worker is "
            "about to send it."
        )
    elif "no state" in names:
        yield "A member has no state any more. If this is a chord of Go's, its callback is never sent."
