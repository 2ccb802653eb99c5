"""Converts Celery's calls to signatures, with all that follows them in the form of the worker that runs them.

A signature is written for the worker that will run it, so nothing of a workflow travels twice. A Celery worker reads
Celery's own chain, callbacks and chord. A Go worker reads OnSuccess, OnError and ChordCallback, each of which is again
written for its own worker. A step for which Go has no form goes through a task of :mod:`.helper_tasks` on a Celery
worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from celery.canvas import maybe_signature
from celery.utils.time import maybe_iso8601, maybe_make_aware

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.codec import own_headers, to_wire
from gearmesh.celery.content import DEFAULT_HEADERS, TaskMessage
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

GO_TASKS_ADVICE = "say its types in go_tasks (Json[…] for dictionaries, None and mixed lists)"


def outgoing(bridge: Bridge, message: TaskMessage, queue: str) -> Signature:
    """The signature to send for a call.

    Args:
        bridge: the app's.
        message: the call.
        queue: the queue to which Celery would send it.

    Raises:
        NotForGo: Go runs the task and could not read the call; the message names the task, the value and a remedy.
        LocalProtocolError: the call cannot be written.
    """
    go = bridge.go_task(message.name, queue)
    if go is None:
        return _timed(bridge, message, _for_celery(bridge, message, queue))
    return _timed(bridge, message, _for_go(bridge, message, go))


def eta_of(bridge: Bridge, message: TaskMessage) -> str | None:
    """A call's ETA as Go writes it; None if it may run at once."""
    eta = message.headers.get("eta")
    if not eta:
        return None
    return _moment(bridge, eta)


def _moment(bridge: Bridge, when: Any) -> str:
    try:  # Celery's own reader refuses offsets with seconds
        moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError:
        moment = maybe_iso8601(when)
    return gotime.from_datetime(maybe_make_aware(moment, bridge.celery.timezone))


def _timed(bridge: Bridge, message: TaskMessage, sig: Signature) -> Signature:
    expires = message.headers.get("expires")
    if expires:
        text = wire.dump("string", _moment(bridge, expires))
        sig = sig.evolve(Headers={**(sig.Headers or {}), EXPIRES_HEADER: text})
    eta = eta_of(bridge, message)
    return sig if eta is None else sig.evolve(ETA=eta)


def _for_celery(bridge: Bridge, message: TaskMessage, queue: str, *, results: bool = True) -> Signature:
    if bridge.go and any(message.embed.values()):
        message = TaskMessage(
            headers=message.headers,
            args=message.args,
            kwargs=message.kwargs,
            embed=_marked(bridge, message.embed),
            priority=message.priority,
            reply_to=message.reply_to,
            content=message.content,
        )
    return to_wire(message, queue=queue, results=results)


def _marked(bridge: Bridge, value: Any) -> Any:
    """The same, with each step that Go runs marked as such: such a step takes results behind its own arguments."""
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
    """The signature for a Go worker. ``appended``: Go will append results, so the own arguments may be incomplete."""
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
    chord, group = embed.get("chord"), headers.get("group")
    if chord is not None and is_raw(chord):
        sig = sig.evolve(
            ChordCallback=raw_of(chord), GroupUUID=str(group or ""), GroupTaskCount=chord["kwargs"]["count"]
        )
    elif chord is not None and group:
        sig = sig.evolve(
            ChordCallback=_body(bridge, chord, str(group), headers),
            GroupUUID=str(group),
            GroupTaskCount=_size(bridge, str(group)),
        )
    return sig.evolve(OnError=_on_error(bridge, message, own_chord=chord is not None and not is_raw(chord)))


def _refuse(name: str, headers: Mapping[str, Any]) -> None:
    limits = headers.get("timelimit") or ()
    for what, value in (
        ("expires", headers.get("expires")),
        ("a time limit", next(filter(None, limits), None)),
    ):
        if value:
            raise NotForGo(
                f"task {name!r} runs in Go, which knows no such thing as {what} ({value!r}): leave it out"
            )


def _steps(embed: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[Any]]]:
    """The steps that follow a success, each with the rest of the chain behind it."""
    steps: list[tuple[Mapping[str, Any], list[Any]]] = [(step, []) for step in embed.get("callbacks") or ()]
    chain = list(embed.get("chain") or ())
    if chain:
        steps.append((chain[-1], chain[:-1]))
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

    ``must_ignore``: other steps take results, and Go passes them to all steps: so this one must be able to ignore them.
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
        group_id=options.get("group_id"),
        group_index=options.get("group_index"),
        chord=options.get("chord"),
        callbacks=_listed(options.get("link")),
        errbacks=_listed(options.get("link_error")),
        reply_to=options.get("reply_to"),
        time_limit=options.get("time_limit"),
        soft_time_limit=options.get("soft_time_limit"),
        root_id=options.get("root_id") or headers.get("root_id"),
        parent_id=headers.get("id"),
        shadow=options.get("shadow"),
        chain=[*(options.get("chain") or ()), *chain] or None,
        ignore_result=options.get("ignore_result"),
        replaced_task_nesting=options.get("replaced_task_nesting", 0),
        stamped_headers=list(stamps) or None,
        **{name: options.get(name) for name in stamps},
    )
    args, kwargs, embed = made.body
    priority = options.get("priority")
    return TaskMessage(
        headers={**made.headers, **(options.get("headers") or {})},
        args=list(args),
        kwargs=kwargs,
        embed=embed,
        priority=priority if isinstance(priority, int) and 0 <= priority < 256 else 0,
        reply_to=options.get("reply_to") or "",
    )


def _listed(value: Any) -> list[Any] | None:
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _helper(bridge: Bridge, name: str, kwargs: dict[str, Any], headers: Mapping[str, Any]) -> Signature:
    """The signature of a helper task, for a Go worker to send."""
    task_id = new_uuid()
    own = {
        **DEFAULT_HEADERS,
        "timelimit": [None, None],
        "stamps": {},
        "task": name,
        "id": task_id,
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("id"),
        "ignore_result": True,
    }
    message = TaskMessage(headers=own, kwargs=kwargs)
    return _for_celery(bridge, message, bridge.queue_of(name, {}))


def _body(bridge: Bridge, body: Mapping[str, Any], group: str, headers: Mapping[str, Any]) -> Signature:
    """The callback that a Go worker sends when the group is complete: a helper task that fires Celery's chord.

    It is immutable, so Go passes it no results: the helper task reads them from the backend.
    """
    sig = _helper(bridge, CHORD_TASK, {"group": group, "body": dict(body)}, headers)
    return sig.evolve(Immutable=True)


def _size(bridge: Bridge, group: str) -> int:
    meta = bridge.group(group)
    if meta is None:
        raise LocalProtocolError(f"group {group}: there is no GroupMeta (any more), its chord cannot fire")
    return len(meta.TaskUUIDs)


def _on_error(bridge: Bridge, message: TaskMessage, *, own_chord: bool) -> tuple[Signature, ...] | None:
    """The signatures for Go to send after a failure: those of Go programs, and a helper task for Celery's own steps."""
    errbacks: Sequence[Any] = message.embed.get("errbacks") or ()
    found = [raw_of(step) for step in errbacks if is_raw(step)]
    own = [step for step in errbacks if not is_raw(step)]
    chain = message.embed.get("chain")
    if own or chain or own_chord:
        context = {
            "id": message.id,
            "task": message.name,
            "group": message.headers.get("group"),
            "root_id": message.headers.get("root_id"),
            "parent_id": message.headers.get("parent_id"),
            "errbacks": _marked(bridge, own),
            "chain": _marked(bridge, chain),
            "chord": _marked(bridge, message.embed.get("chord")) if own_chord else None,
        }
        found.append(_helper(bridge, FAILED_TASK, {"context": context}, message.headers))
    return tuple(found) or None


def step_of(bridge: Bridge, step: Mapping[str, Any]) -> Any:
    """A step's dictionary as a Celery signature of the app, of a type of our own where Go runs it."""
    return maybe_signature(_marked(bridge, step), app=bridge.celery)
