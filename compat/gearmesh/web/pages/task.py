"""Shows a task by its UUID: its state, its message if the broker shows it, its error, and its workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gearmesh.errors import TaskError
from gearmesh.inspection.broker import queue_of
from gearmesh.inspection.message_search import FoundMessage, MessageSearch, find_message
from gearmesh.inspection.messages import signature_of
from gearmesh.interfaces.backend import SupportsRevocation
from gearmesh.units import counted
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.messages import MAX_PAYLOAD_CHARS, argument_rows, cut, header_rows, payload_text
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.times import Moment, moment, moment_of_text
from gearmesh.web.workflow import draw, uuids_of
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, RETRY, STARTED, SUCCESS, TaskState

__all__ = ["payload", "revoke", "task"]

#: Number of queues that a search for one message reads.
MAX_SEARCHED_QUEUES: Final = 20
#: Characters of a UUID; a longer text is cut.
MAX_UUID_CHARS: Final = 300
#: The steps of a task's life, in their order.
_STEPS: Final = (PENDING, RECEIVED, STARTED)


class Step(NamedTuple):
    """A step of a task's life. ``status``: ``past``, ``now``, ``open`` (to come), or ``wrong`` for a failure."""

    name: str
    status: str
    at: Moment


def task(desk: Desk, query: Fields) -> Mapping[str, Any]:
    """The page of one task."""
    uuid = query.text("id")[:MAX_UUID_CHARS]
    state = desk.states.states([uuid]).get(uuid) if uuid else None
    group = desk.states.group(uuid) if uuid and state is None else None
    search = _find(desk, uuid, state) if uuid else None
    found = search.found if search else None
    failure = desk.states.failure(state) if state else None
    # The worker has stored the message of a failed task.
    kept = failure.message.encode() if failure and not found else b""
    body = found.body if found else kept
    sig = signature_of(body) if body else None
    progress = desk.states.progress(uuid) if state is not None else None
    return {
        "id": uuid,
        "state": state,
        "is_group": group is not None and bool(group.TaskUUIDs),
        "steps": _steps(state),
        "results": _results(desk, state),
        "error": desk.masker.text(state.Error) if state else "",
        "exception": failure.exception_type if failure else "",
        "traceback": desk.masker.text(failure.traceback) if failure else "",
        "progress": progress,
        "search": search,
        "found": found,
        "place": _place(found),
        "kept": bool(kept),
        "retriable": bool(kept) and state is not None and state.State == FAILURE,
        "signature": sig,
        "known": uuid and (state is not None or sig is not None),
        "arguments": argument_rows(sig, desk.masker) if sig else [],
        "headers": header_rows(sig, desk.masker) if sig else [],
        "payload": cut(payload_text(body, desk.masker), MAX_PAYLOAD_CHARS) if body else "",
        "drawing": _drawing(desk, sig) if sig else None,
        "abilities": desk.broker.abilities(),
        "states_name": desk.states.name,
        "keeps": desk.states.keeps,
        "revocable": isinstance(desk.app.backend, SupportsRevocation) and not (state and state.final),
        "revoked": query.text("revoked") == "1",
    }


def _find(desk: Desk, uuid: str, state: TaskState | None) -> MessageSearch | None:
    """Look for the message of a task; None if the broker shows messages only by delivering them."""
    if not desk.broker.abilities().pages:
        return None
    names = desk.directory.first(MAX_SEARCHED_QUEUES)
    likely = queue_of(desk.app, state.TaskName) if state and state.TaskName else desk.app.default_queue
    queues = list(dict.fromkeys([likely, *names]))
    return desk.broker.ask(("find", uuid), lambda channel: find_message(channel, uuid, queues))


def _place(found: FoundMessage | None) -> str:
    """Describe the place of a message in words."""
    if found is None:
        return ""
    detail = found.detail
    return {
        "waiting": f"waits in queue {found.queue} behind {counted(int(detail), 'message')}"
        if found.place == "waiting"
        else "",
        "unacked": f"was delivered from queue {found.queue} to {detail}, which has not settled it",
        "delayed": f"waits for its ETA, {moment(int(detail)).text}" if found.place == "delayed" else "",
        "parked": f"is parked for queue {found.queue}",
        "dead": f"is a dead letter of queue {found.queue}",
    }[found.place]


def _steps(state: TaskState | None) -> list[Step]:
    """The steps of a task's life by its stored state. The backend keeps only the last state and the first time."""
    if state is None:
        return []
    unknown = Moment("", "")
    last = state.State if state.State in (SUCCESS, FAILURE, RETRY) else "end"
    names = [*_STEPS, last] if state.State in (*_STEPS, last) else [PENDING, state.State]
    now = names.index(state.State)
    return [
        Step(
            name,
            "wrong"
            if at == now and name == FAILURE
            else "past"
            if at < now or (at == now and state.final)
            else "now"
            if at == now
            else "open",
            moment_of_text(state.CreatedAt) if at == 0 else unknown,
        )
        for at, name in enumerate(names)
    ]


def _results(desk: Desk, state: TaskState | None) -> list[tuple[str, str]]:
    """The typed results of a task, masked."""
    return [
        (each.Type, cut(desk.masker.json_text(bytes(each.Value).decode(errors="replace")), MAX_PAYLOAD_CHARS))
        for each in (state.Results or () if state else ())
    ]


def _drawing(desk: Desk, sig: Signature) -> Any:
    """Draw the workflow of a task; None if it has none."""
    group = desk.states.group(sig.GroupUUID) if sig.GroupUUID else None
    if not sig.nested() and group is None:
        return None
    return draw(sig, desk.states.listed(uuids_of(sig, group)), group)


def payload(desk: Desk, query: Fields) -> str:
    """The whole message of a task, masked; ``""`` if it is not found."""
    uuid = query.text("id")[:MAX_UUID_CHARS]
    state = desk.states.states([uuid]).get(uuid) if uuid else None
    search = _find(desk, uuid, state) if uuid else None
    if search and search.found:
        return payload_text(search.found.body, desk.masker)
    failure = desk.states.failure(state) if state else None
    return payload_text(failure.message.encode(), desk.masker) if failure and failure.message else ""


def revoke(desk: Desk, form: Fields) -> Done:
    """Revoke a task: no gearmesh worker starts it, and a worker that runs it interrupts it.

    Raises:
        Refused: no task is named, or the backend keeps no revocations.
    """
    uuid = form.text("id")[:MAX_UUID_CHARS]
    if not uuid:
        raise Refused("no task is named")
    try:
        desk.app.revoke(uuid)
    except TaskError as exc:
        raise Refused(str(exc)) from exc
    return Done("/task", f"revoked task={uuid!r}", {"id": uuid, "revoked": "1"})
