"""Converts Celery's calls, and the workflows that follow them, to signatures.

A signature is written for the worker that will run it, so no part of a workflow travels twice. A Celery worker reads
Celery's own chain, callbacks and chord. A Go worker reads OnSuccess, OnError and ChordCallback; each signature in them
is again written for the worker that will run it. If Go has no form for a step, a task of :mod:`.helper_tasks` sends the
step from a Celery worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from celery.canvas import maybe_signature
from celery.utils.time import maybe_iso8601, maybe_make_aware

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.codec import own_headers, to_wire
from gearmesh.celery.content import TaskMessage, priority_of, usual_headers
from gearmesh.celery.errors import NotForGo
from gearmesh.celery.routes import GoTask
from gearmesh.celery.step_types import APPLY_TASK, CHORD_TASK, FAILED_TASK, GO_STEP_TYPE, is_raw, raw_of
from gearmesh.celery.values import from_json
from gearmesh.errors import LocalProtocolError, TaskError
from gearmesh.ids import new_uuid
from gearmesh.wire import gotime
from gearmesh.wire import types as wire
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.wire.signature import Signature

__all__ = ["eta_of", "outgoing"]

#: Options of a step that Celery's ``as_task_v2`` takes as arguments of the same names.
_PASSED_OPTIONS = (
    "group_id", "group_index", "chord", "reply_to", "time_limit", "soft_time_limit", "shadow", "ignore_result",
)  # fmt: skip
GO_TASKS_ADVICE = (
    "name the types of its parameters in go_tasks (Json[…] for dictionaries, None and mixed lists)"
)


def outgoing(bridge: Bridge, message: TaskMessage, queue: str) -> Signature:
    """The signature to send for a call.

    Args:
        bridge: the app's bridge.
        message: the call.
        queue: the queue to which Celery would send it.

    Raises:
        NotForGo: Go runs the task but could not read the call; the message names the task, the value and a remedy.
        LocalProtocolError: the call cannot be written.
    """
    go = bridge.go_task(message.name, queue)
    sig = _for_celery(bridge, message, queue) if go is None else _for_go(bridge, message, go)
    expires = message.headers.get("expires")
    if expires:
        text = wire.dump("string", _moment(bridge, expires))
        sig = sig.evolve(Headers={**(sig.Headers or {}), EXPIRES_HEADER: text})
    eta = eta_of(bridge, message)
    return sig if eta is None else sig.evolve(ETA=eta)


def eta_of(bridge: Bridge, message: TaskMessage) -> str | None:
    """A call's ETA as Go writes it; None if it may run at once."""
    eta = message.headers.get("eta")
    return _moment(bridge, eta) if eta else None


def _moment(bridge: Bridge, when: Any) -> str:
    try:  # Celery's maybe_iso8601 refuses offsets with seconds
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        moment = maybe_iso8601(when)
    return gotime.from_datetime(maybe_make_aware(moment, bridge.celery.timezone))


def _for_celery(bridge: Bridge, message: TaskMessage, queue: str, *, results: bool = True) -> Signature:
    if bridge.go and any(message.embed.values()):
        message = msgspec.structs.replace(message, embed=_marked(bridge, message.embed))
    return to_wire(message, queue=queue, results=results)


def _marked(bridge: Bridge, value: Any) -> Any:
    """Mark each step that Go runs in a copy of ``value``: such a step takes results after its own arguments."""
    if isinstance(value, (list, tuple)):
        return [_marked(bridge, one) for one in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _marked(bridge, one) for key, one in value.items()}
    if found.keys() >= {"task", "options", "subtask_type"} and not found["subtask_type"]:
        options = found["options"] or {}
        queue = options.get("queue") if isinstance(options, Mapping) else None
        if bridge.go_task(str(found["task"]), queue if isinstance(queue, str) else ""):
            found["subtask_type"] = GO_STEP_TYPE
    return found


# -- for Go


def _for_go(bridge: Bridge, message: TaskMessage, go: GoTask, *, appended: bool = False) -> Signature:
    """The signature for a Go worker. ``appended``: Go will append results, so the call's arguments may be too few."""
    name, headers, embed = message.name, message.headers, message.embed
    _refuse(name, headers)
    try:
        args = bridge.parameters(name).dump_args(
            [from_json(value) for value in message.args], message.kwargs, after=None if appended else ()
        )
    except LocalProtocolError as exc:
        raise NotForGo(str(exc) if go.args else f"{exc}; {GO_TASKS_ADVICE}") from exc
    except TaskError as exc:
        raise NotForGo(str(exc)) from exc
    following = [_next(bridge, step, chain, headers) for step, chain in _steps(embed)]
    takes = {results for _, results in following}
    if takes == {True, False}:
        following = [_next(bridge, step, chain, headers, must_ignore=True) for step, chain in _steps(embed)]
        takes = {True}
    sig = Signature(
        UUID=message.id,
        Name=name,
        RoutingKey=go.queue,
        Args=args,
        Headers=own_headers(headers),
        Priority=message.priority,
        Immutable=takes == {False},
        RetryCount=go.retry_count,
        OnSuccess=tuple(each for each, _ in following) or None,
    )
    chord: Any = embed.get("chord")
    group = headers.get("group")
    own_chord = chord is not None and not is_raw(chord)
    if own_chord and group:
        callback, count = _body(bridge, chord, str(group), headers), _size(bridge, str(group))
        sig = sig.evolve(ChordCallback=callback, GroupUUID=str(group), GroupTaskCount=count)
    elif chord is not None and not own_chord:
        callback, count = raw_of(chord), chord["kwargs"]["count"]
        sig = sig.evolve(ChordCallback=callback, GroupUUID=str(group or ""), GroupTaskCount=count)
    return sig.evolve(OnError=_on_error(bridge, message, own_chord=own_chord))


def _refuse(name: str, headers: Mapping[str, Any]) -> None:
    limit = next(filter(None, headers.get("timelimit") or ()), None)
    for what, value in (("expires", headers.get("expires")), ("a time limit", limit)):
        if value:
            raise NotForGo(
                f"task {name!r} runs in Go, which does not support {what} ({value!r}): leave it out"
            )


def _steps(embed: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[Any]]]:
    """The steps that follow a success, each with the rest of the chain after it."""
    steps: list[tuple[Mapping[str, Any], list[Any]]] = [(step, []) for step in embed.get("callbacks") or ()]
    if embed.get("chain"):
        *rest, first = embed["chain"]
        steps.append((first, rest))
    return steps


def _next(
    bridge: Bridge,
    step: Mapping[str, Any],
    chain: list[Any],
    headers: Mapping[str, Any],
    *,
    must_ignore: bool = False,
) -> tuple[Signature, bool]:
    """The signature of a step that a Go worker will send, and True if the step takes results.

    ``must_ignore``: True if another step takes results. Go then passes them to all steps, so a step that takes none
    must ignore them.
    """
    results = not step.get("immutable")
    if is_raw(step):
        return raw_of(step), results
    options = step.get("options") or {}
    plain = not step.get("subtask_type") or step.get("subtask_type") == GO_STEP_TYPE
    later = any(options.get(name) is not None for name in ("countdown", "eta", "expires"))
    if not plain or later:
        return _helper(bridge, APPLY_TASK, {"step": dict(step), "chain": chain}, headers), results
    message = _message(bridge, step, chain, headers)
    queue = bridge.queue_of(message.name, options, message.args, message.kwargs)
    go = bridge.go_task(message.name, queue)
    if go is None:
        return _for_celery(bridge, message, queue, results=results), results
    if must_ignore and not results:
        return _helper(bridge, APPLY_TASK, {"step": dict(step), "chain": chain}, headers), results
    return _for_go(bridge, message, go, appended=results), results


def _message(
    bridge: Bridge, step: Mapping[str, Any], chain: list[Any], headers: Mapping[str, Any]
) -> TaskMessage:
    """The message that Celery would send for a step, without its ETA."""
    options = dict(step.get("options") or {})
    task_id = options.get("task_id") or new_uuid()
    stamps = options.get("stamped_headers") or ()
    made = bridge.celery.amqp.as_task_v2(
        task_id,
        step["task"],
        list(step.get("args") or ()),
        dict(step.get("kwargs") or {}),
        callbacks=_listed(options.get("link")),
        errbacks=_listed(options.get("link_error")),
        root_id=options.get("root_id") or headers.get("root_id"),
        parent_id=headers.get("id"),
        chain=[*(options.get("chain") or ()), *chain] or None,
        replaced_task_nesting=options.get("replaced_task_nesting", 0),
        stamped_headers=list(stamps) or None,
        **{name: options.get(name) for name in (*_PASSED_OPTIONS, *stamps)},
    )
    args, kwargs, embed = made.body
    return TaskMessage(
        headers={**made.headers, **(options.get("headers") or {})},
        args=list(args),
        kwargs=kwargs,
        embed=embed,
        priority=priority_of(options.get("priority"), step["task"]),
        reply_to=options.get("reply_to") or "",
    )


def _listed(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _helper(bridge: Bridge, name: str, kwargs: dict[str, Any], headers: Mapping[str, Any]) -> Signature:
    """The signature of a helper task, for a Go worker to send."""
    own = {"task": name, "id": new_uuid(), "root_id": headers.get("root_id"), "parent_id": headers.get("id")}
    message = TaskMessage(headers=usual_headers() | own | {"ignore_result": True}, kwargs=kwargs)
    return _for_celery(bridge, message, bridge.queue_of(name, {}))


def _body(bridge: Bridge, body: Mapping[str, Any], group: str, headers: Mapping[str, Any]) -> Signature:
    """The callback that a Go worker sends when the group is complete: a helper task that fires Celery's chord.

    The callback is immutable, so Go passes no results to it. The helper task reads them from the backend.
    """
    sig = _helper(bridge, CHORD_TASK, {"group": group, "body": dict(body)}, headers)
    return sig.evolve(Immutable=True)


def _size(bridge: Bridge, group: str) -> int:
    meta = bridge.group(group)
    if meta is None:
        raise LocalProtocolError(
            f"group {group}: the backend has no GroupMeta (any more), so its chord cannot fire"
        )
    return len(meta.TaskUUIDs)


def _on_error(bridge: Bridge, message: TaskMessage, *, own_chord: bool) -> tuple[Signature, ...] | None:
    """The signatures that Go sends after a failure: those of Go programs, and a helper task for Celery's own steps."""
    errbacks: Sequence[Any] = message.embed.get("errbacks") or ()
    found = [raw_of(step) for step in errbacks if is_raw(step)]
    own = [step for step in errbacks if not is_raw(step)]
    chain = message.embed.get("chain")
    if own or chain or own_chord:
        context = {
            name: message.headers.get(name) for name in ("id", "task", "group", "root_id", "parent_id")
        }
        context |= {
            "errbacks": _marked(bridge, own),
            "chain": _marked(bridge, chain),
            "chord": _marked(bridge, message.embed.get("chord")) if own_chord else None,
        }
        found.append(_helper(bridge, FAILED_TASK, {"context": context}, message.headers))
    return tuple(found) or None


def step_of(bridge: Bridge, step: Mapping[str, Any]) -> Any:
    """Make a Celery signature of the app from a step's dictionary; a step that Go runs becomes a GoStep."""
    return maybe_signature(_marked(bridge, step), app=bridge.celery)
