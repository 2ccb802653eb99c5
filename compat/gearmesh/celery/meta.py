"""Converts between Celery's meta of a task and Machinery's states. Pure.

Go reads a TaskState with typed results. Celery's other data (its own states, the exception's type, children, dates) is
JSON in a second state, the side state, which Go never reads. The side state counts only while it fits the first state:
a state that a Go worker wrote later replaces both.
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

#: The state that Go reads for some states of Celery.
_WIRE_STATES: Final = {
    "REVOKED": FAILURE,
    "REJECTED": FAILURE,
    # A RETRY that arrives late must never replace the final state of the next try. Backends refuse that for RECEIVED
    # and STARTED only.
    "RETRY": STARTED,
}
_SHARED_STATES: Final = (PENDING, RECEIVED, STARTED, SUCCESS, FAILURE)


def wire_state(status: str) -> str:
    """The state that Go reads for a state of Celery; an application's own state becomes STARTED."""
    return status if status in _SHARED_STATES else _WIRE_STATES.get(status, STARTED)


def states_of(
    task_id: str, status: str, meta: str, results: Sequence[TaskResult] | None, error: str
) -> tuple[TaskState, TaskState]:
    """The two states of a task to write, the side state first.

    Args:
        meta: Celery's meta, as JSON.
        results: the typed results, for SUCCESS.
        error: the error's text, for a state that Go reads as FAILURE.
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
    """A state that holds a text for Celery alone."""
    return TaskState(TaskUUID=celery_meta(uuid), State=word, Results=(wire.result("string", text),))


def read_side(state: TaskState | None) -> dict[str, Any] | None:
    """Read the content of a :func:`side_state`; None if ``state`` is None or empty.

    Raises:
        BackendError: the content is damaged.
    """
    if state is None or not state.Results:
        return None
    try:
        found = kombu.utils.json.loads(wire.load("string", state.Results[0].Value))
    except (ProtocolError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise BackendError(f"state {state.TaskUUID} is damaged, expected JSON from Celery: {exc}") from exc
    if not isinstance(found, dict):
        raise BackendError(
            f"state {state.TaskUUID} is damaged, expected a mapping from Celery: {found!r:.80}"
        )
    return found


def read_meta(task_id: str, state: TaskState | None, side: TaskState | None) -> dict[str, Any]:
    """Make Celery's meta of a task from its two states (None: not stored).

    ``result`` is as Celery stored it; an exception is a dictionary. For a Go task it is the value, a list if there are
    several values, None if there is no value, or TaskFailed.

    Raises:
        BackendError: a stored state cannot be read.
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
    """Write an exception, in the form in which Celery stores it, as text for Go: ``TypeName: message``."""
    if not isinstance(result, dict):
        return str(result) or repr(result)
    kind, said = str(result.get("exc_type")), result.get("exc_message")
    text = ", ".join(map(str, said)) if isinstance(said, (list, tuple)) else str(said or "")
    return f"{kind}: {text}" if text else kind
