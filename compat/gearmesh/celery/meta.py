"""Between what Celery keeps of a task and Machinery's states. Pure.

Go sees a TaskState with typed results. What only Celery knows (its own states, the exception's type, children, dates)
is the text of a second state beside it, which Go never asks for. The second one counts only while it fits the first:
a state that Go has written since is the newer truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import kombu.utils.json

from gearmesh.errors import BackendError, ProtocolError, TaskFailed
from gearmesh.wire import types as wire
from gearmesh.wire.names import celery_meta
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, TaskResult, TaskState

__all__ = ["error_text", "read_meta", "read_side", "side_state", "states_of", "wire_state"]

#: Celery's states that mean something else to Go; those that are not here are themselves.
_WIRE_STATES: Final = {
    "REVOKED": FAILURE,
    "REJECTED": FAILURE,
    # Like RECEIVED and STARTED it must never be written over the end of a quick next try: only these never are.
    "RETRY": STARTED,
}
_SHARED_STATES: Final = (PENDING, RECEIVED, STARTED, SUCCESS, FAILURE)


def wire_state(status: str) -> str:
    """The state that Go sees for one of Celery's; a task's own states are STARTED."""
    return status if status in _SHARED_STATES else _WIRE_STATES.get(status, STARTED)


def states_of(
    task_id: str, status: str, meta: str, results: Sequence[TaskResult] | None, error: str
) -> tuple[TaskState, TaskState]:
    """The two states to write; the one for Celery goes first.

    Args:
        meta: what Celery keeps, as JSON.
        results: typed, for SUCCESS.
        error: the text, for what Go sees as FAILURE.
    """
    word = wire_state(status)
    seen = TaskState(
        TaskUUID=task_id,
        State=word,
        Results=tuple(results or ()) if word == SUCCESS else None,
        Error=error if word == FAILURE else "",
    )
    return side_state(task_id, meta, word), seen


def side_state(uuid: str, text: str, word: str = SUCCESS) -> TaskState:
    """A state that holds a text of Celery's."""
    return TaskState(TaskUUID=celery_meta(uuid), State=word, Results=(wire.result("string", text),))


def read_side(state: TaskState | None) -> dict[str, Any] | None:
    """What is in :func:`side_state`, its values as Celery's JSON has marked them; None: there is none.

    Raises:
        BackendError: it is damaged.
    """
    if state is None or not state.Results:
        return None
    try:
        found = kombu.utils.json.loads(wire.load("string", state.Results[0].Value))
    except (ProtocolError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise BackendError(f"state {state.TaskUUID} is not what Celery wrote: {exc}") from exc
    if not isinstance(found, dict):
        raise BackendError(f"state {state.TaskUUID} is not what Celery wrote: {found!r:.80}")
    return found


def read_meta(task_id: str, state: TaskState | None, side: TaskState | None) -> dict[str, Any]:
    """What Celery wants to know of a task, from the two states (None: not there).

    ``result`` is as Celery stored it, an exception still in its parts; of a Go task it is the value, the values in a
    list if there are several, None if there is none, or TaskFailed.

    Raises:
        BackendError: what is stored cannot be read.
    """
    if state is None:
        return {"status": PENDING, "result": None, "task_id": task_id}
    own = read_side(side)
    if own is not None and wire_state(str(own.get("status"))) == state.State:
        return own
    result: Any = None
    if state.success:
        try:
            values = [wire.load(one.Type, one.Value) for one in state.Results or ()]
        except ProtocolError as exc:
            raise BackendError(f"task {task_id}: a stored result cannot be read: {exc}") from exc
        result = values[0] if len(values) == 1 else (values or None)
    elif state.State == FAILURE:
        result = TaskFailed(task_id, state.Error, state.TaskName)
    return {
        "status": state.State,
        "result": result,
        "traceback": None,
        "children": [],
        "task_id": task_id,
        "name": state.TaskName or None,
    }


def error_text(result: Any) -> str:
    """An exception as Celery stores it, as text for Go: its type's name, and what it says."""
    if not isinstance(result, dict):
        return str(result) or repr(result)
    kind, said = str(result.get("exc_type")), result.get("exc_message")
    text = ", ".join(map(str, said)) if isinstance(said, (list, tuple)) else str(said or "")
    return f"{kind}: {text}" if text else kind
