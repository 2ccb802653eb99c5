"""Describes a message and how Go and Python process it, and finds the faults of its fields."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gearmesh.config.sections import AMQPConfig
from gearmesh.errors import ProtocolError
from gearmesh.explain.aftermath import PUT_BACK_PYTHON, SQS_KEEPS, after_error, after_panic
from gearmesh.explain.fields import short_path
from gearmesh.explain.findings import Finding
from gearmesh.explain.sections import Sections
from gearmesh.explain.spans import Span
from gearmesh.explain.tree import call_text, draw, why_never
from gearmesh.explain.values import check_arg, show_value
from gearmesh.units import counted
from gearmesh.wire import gotime
from gearmesh.wire.names import EXPIRES_HEADER
from gearmesh.wire.retry import fibonacci_next
from gearmesh.wire.signature import Signature
from gearmesh.wire.types import load

__all__ = ["UNREADABLE_GO", "UNREADABLE_PYTHON", "check_signature", "describe_signature"]

_REJECTED = "the message is rejected (it is gone unless the queue has a dead letter exchange)"
UNREADABLE_GO = (
    f"A Go worker cannot read it. {after_error(_REJECTED, 'the message is gone')} No state is stored: a caller's "
    "GetWithTimeout ends with its timeout, and Get never returns."
)
#: The reason why a message without a name and its follow-up tasks never run.
_NEVER_RUNS = "since no worker runs a task without a name"
UNREADABLE_PYTHON = (
    "A gearmesh worker makes it a dead letter with its bytes and the reason, and goes on with the other messages. "
    "'gearmesh dead list' shows it, 'gearmesh dead show ID' prints its bytes, 'gearmesh dead drop ID' deletes it. "
    "'gearmesh dead retry ID' would put it back as it is, so correct the sender, and send the task again."
)
#: Go: the routing key of messages for the default queue, unless the program sets another one.
_DEFAULT_BINDING_KEY = AMQPConfig().binding_key
#: Retries whose pauses are listed.
MAX_LISTED_PAUSES = 6


def describe_signature(sig: Signature, *, broken_args: bool) -> Sections:
    """Describe a message and its processing. ``broken_args``: one of the message's own arguments cannot be read."""
    name = repr(sig.Name) if sig.Name else "a task without a name"
    told = Sections(
        f"This is a message: one call of the task {name}."
        if sig.Name
        else f"This is a message: one call of {name}."
    )
    told.facts += _facts(sig)
    if sig.nested():
        told.workflow = draw(sig)
    told.go += _go(sig, broken_args)
    told.python += _python(sig, broken_args)
    return told


def _queue(routing_key: str) -> str:
    if routing_key == _DEFAULT_BINDING_KEY:
        return f"{routing_key} (on RabbitMQ the binding key of the default queue, on other brokers the queue's name)"
    return (
        routing_key or "none named; a worker that sends it on, as in a retry, fills in its own default queue"
    )


def _facts(sig: Signature) -> Iterator[tuple[str, str]]:
    yield "call", call_text(sig)
    yield "UUID", sig.UUID or "none"
    yield "queue", _queue(sig.RoutingKey)
    if sig.ETA is not None:
        yield "not before", sig.ETA
    if sig.RetryCount > 0:
        yield "retries", f"{sig.RetryCount} left, {_pauses(sig)}"
    if sig.GroupUUID:
        count = sig.GroupTaskCount
        yield (
            "group",
            f"{sig.GroupUUID}, "
            + (f"of {counted(count, 'member')}" if count > 0 else f"with GroupTaskCount {count}"),
        )
    if sig.Headers:
        yield (
            "headers",
            ", ".join(
                f"{show_value(msgspec.json.encode(key))}: {show_value(value)}"
                for key, value in sig.Headers.items()
            ),
        )
    if sig.Priority:
        yield "priority", f"{sig.Priority} (Redis does not look at it)"
    if sig.BrokerMessageGroupId:
        yield "SQS group", sig.BrokerMessageGroupId
    workflow = _workflow(sig)
    if workflow:
        yield "workflow", workflow


def _pauses(sig: Signature) -> str:
    pauses = []
    last = sig.RetryTimeout
    for _ in range(min(sig.RetryCount, MAX_LISTED_PAUSES)):
        last = fibonacci_next(last)
        pauses.append(str(last))
        if last > 2**40:
            break
    more = ", …" if sig.RetryCount > len(pauses) else ""
    return f"after {'a pause' if len(pauses) == 1 else 'pauses'} of {', '.join(pauses)}{more} s"


def _workflow(sig: Signature) -> str:
    parts = []
    if sig.ChordCallback is not None:
        never = why_never(sig)
        parts.append(f"a callback that is never sent, since {never}" if never else "a member of a chord")
    elif sig.GroupUUID:
        parts.append("a member of a group")
    steps = 0
    one: Signature | None = sig
    while one is not None and one.OnSuccess:
        steps += 1
        one = next((child for child in one.OnSuccess if child is not None), None)
    after = len(sig.OnSuccess or ())
    if after > 1:
        parts.append(f"{after} calls after a success")
    elif steps:
        parts.append(f"a chain with {counted(steps, 'step')} after this one")
    if sig.OnError:
        parts.append(f"{counted(len(sig.OnError), 'call')} if it fails for good")
    if sig.RetryTimeout > 0 and sig.ETA is not None:
        parts.append("it has failed before, and this is a retry")
    return "; ".join(parts)


def _go(sig: Signature, broken_args: bool) -> Iterator[str]:
    if not sig.Name:
        yield from _without_name(sig)
        return
    known = sig.RoutingKey and sig.RoutingKey != _DEFAULT_BINDING_KEY
    queue = f"queue {sig.RoutingKey!r}" if known else "the queue that holds this message"
    if broken_args:
        yield (
            f'If a Go worker of {queue} has registered {sig.Name!r}, it reads the arguments first. "What is wrong" '
            "describes how it reads them."
        )
    else:
        yield (
            f"A Go worker of {queue} runs the task if the worker has registered {sig.Name!r}. It stores RECEIVED, "
            "STARTED, and then SUCCESS with the results or FAILURE with the error."
        )
    if sig.IgnoreWhenTaskNotRegistered:
        yield (
            "IgnoreWhenTaskNotRegistered is set, so a Go worker that has not registered the name drops the message, "
            "without a state. On RabbitMQ, Machinery v1.7 to v1.10 and v2.0.0 to v2.0.13 keep it unacknowledged "
            "instead: a worker that holds as many such messages as its prefetch count gets no more messages."
        )
    else:
        yield (
            "A Go worker that has not registered the name puts the message back at once, over and over, until another "
            f"worker takes it. {SQS_KEEPS}."
        )
    if sig.ETA is not None:
        yield (
            "A Go worker does not look at ETA (not before): once the message is in a queue that workers read, one of "
            "them runs it. No worker reads a delay queue of RabbitMQ."
        )
    if not broken_args:
        yield from _what_follows(sig)


def _without_name(sig: Signature) -> Iterator[str]:
    if sig.IgnoreWhenTaskNotRegistered:
        yield "No worker registers an empty name, so each worker that gets the message drops it, without a state."
    else:
        yield (
            "No worker registers an empty name, so each worker that gets the message puts it back at once, over and "
            "over, until you remove it from the queue."
        )


def _what_follows(sig: Signature) -> Iterator[str]:
    calls = [child for child in sig.OnSuccess or () if child is not None]
    if calls:
        names = ", ".join(repr(child.Name) for child in calls)
        how = (
            "without the results, since this message is Immutable"
            if sig.Immutable
            else "with the results behind its own arguments"
            if len(calls) == 1
            else "each with the results behind its own arguments"
        )
        yield f"After SUCCESS it sends {names}, {how}."
    if sig.RetryCount > 0:
        times = "once" if sig.RetryCount == 1 else f"{sig.RetryCount} times"
        yield (
            f"If the task returns an error, the worker sends the message again, {times} at most, {_pauses(sig)}. If "
            "the last try fails too, the worker stores FAILURE."
        )
    errors = [child for child in sig.OnError or () if child is not None]
    if errors:
        names = ", ".join(repr(child.Name) for child in errors)
        yield f"After FAILURE it sends {names}, with the error's text as the first argument."
    never = why_never(sig)
    if never and sig.ChordCallback is not None:
        yield f"The callback {sig.ChordCallback.Name!r} is never sent, since {never}."
    elif sig.ChordCallback is not None:
        given = (
            "without results, since the callback is Immutable"
            if sig.ChordCallback.Immutable
            else "with the results of all members, in the order of the group"
        )
        yield (
            "Once all members of the group have ended, and all are SUCCESS, the worker that ended the last one sends "
            f"{sig.ChordCallback.Name!r}, {given}. If a member fails, the callback is never sent. In Go the chord's "
            "Get then returns the member's error, and its GetWithTimeout returns neither results nor an error."
        )


def _python(sig: Signature, broken_args: bool) -> Iterator[str]:
    if sig.Name:
        yield (
            f"If a gearmesh worker of the same queue has registered {sig.Name!r}, it reads the arguments first, too."
            if broken_args
            else f"A gearmesh worker of the same queue that has registered {sig.Name!r} does the same."
        )
    if sig.Name and sig.ETA is not None:
        yield "A gearmesh worker does not look at ETA either."
    if sig.ChordCallback is not None and not why_never(sig) and sig.Name and not broken_args:
        yield "As soon as a member has failed, the chord's get() raises ChordMemberFailed."
    who = "A gearmesh worker that has not registered the name" if sig.Name else "A gearmesh worker"
    if sig.IgnoreWhenTaskNotRegistered:
        yield f"{who} acknowledges and drops the message, without a state."
    else:
        yield f"{who} {PUT_BACK_PYTHON}."
    if sig.Headers and EXPIRES_HEADER in sig.Headers and _is_time(sig.Headers[EXPIRES_HEADER]):
        yield (
            f"A gearmesh worker does not start the task after the time in the header {EXPIRES_HEADER}: it stores "
            "FAILURE 'expired'. A Go worker does not look at that header."
        )


def check_signature(sig: Signature, root: Span, data: bytes) -> tuple[list[Finding], bool]:
    """Find the faults of a message that can be read, and of its follow-up tasks.

    Returns the findings, and True if an argument of the message itself cannot be read.
    """
    found: list[Finding] = []
    # (span, its path, True if a worker runs it or sends it)
    todo: list[tuple[Span, str, bool]] = [(root, "", True)]
    broken = False
    while todo:
        span, path, sent = todo.pop()
        name = _text(span, "Name")
        runs = sent and bool(name)
        found += (_of_call(one, name if runs else "", path) for one in _check_args(span, data, path))
        if not path:
            broken = any(one.level == "fault" for one in found)
            found += _check_top(sig, root)
        found += _check_own(span, path, sent)
        for field in ("OnSuccess", "OnError"):
            todo += [
                (item, short_path(f"{path}{field}[{index}]") + ".", runs)
                for index, item in enumerate(span.elements(field))
                if item.entries is not None
            ]
        callback = span.find("ChordCallback")
        if callback is not None and callback.entries is not None:
            todo.append((callback, short_path(f"{path}ChordCallback") + ".", runs))
    return found, broken


def _check_args(span: Span, data: bytes, path: str) -> Iterator[Finding]:
    for index, arg in enumerate(span.elements("Args")):
        yield from check_arg(arg.find("Type"), arg.find("Value"), data, f"{path}Args[{index}]")


def _of_call(finding: Finding, name: str, path: str) -> Finding:
    """Adapt the finding about an argument to a call that is a later step, or that has no name."""
    if not name:
        return msgspec.structs.replace(finding, go=f"never reads it, {_NEVER_RUNS}", python="does not either")
    if not path:
        return finding
    go, python = (text.replace("the task", repr(name)) for text in (finding.go, finding.python))
    return msgspec.structs.replace(finding, go=go, python=python)


def _check_top(sig: Signature, root: Span) -> Iterator[Finding]:
    if not sig.UUID:
        yield _about(
            root,
            "UUID",
            "the message has no UUID; its sender should have filled it in",
            "stores the states of all such messages under the same empty key, where no caller looks for them"
            if sig.Name
            else f"stores no state, {_NEVER_RUNS}",
            "does the same"
            if sig.Name
            else "does not either"
            if sig.IgnoreWhenTaskNotRegistered
            else "stores FAILURE under an empty key once the message is a dead letter",
        )
    if sig.Headers and EXPIRES_HEADER in sig.Headers and not _is_time(sig.Headers[EXPIRES_HEADER]):
        headers = root.find("Headers")
        at = headers.find(EXPIRES_HEADER) if headers is not None else None
        yield Finding(
            level="fault",
            text=(
                f"the header {EXPIRES_HEADER} is {show_value(sig.Headers[EXPIRES_HEADER])}, which is not a JSON "
                "string with an RFC 3339 time"
            ),
            start=at.start if at else None,
            end=at.end if at else None,
            where=f"Headers.{EXPIRES_HEADER}",
            go="does not look at it",
            python="runs the task as one that does not expire",
        )


def _is_time(raw: msgspec.Raw) -> bool:
    try:
        gotime.parse(load("string", raw))
    except (ProtocolError, ValueError):
        return False
    return True


def _check_own(span: Span, path: str, sent: bool) -> Iterator[Finding]:
    """Find the faults in the fields of one signature. ``sent``: False if the step before it never runs."""
    yield from _check_name(span, path, sent)
    yield from _check_group(span, path)
    yield from _check_steps(span, path, sent and bool(_text(span, "Name")))


def _check_name(span: Span, path: str, sent: bool) -> Iterator[Finding]:
    if _text(span, "Name"):
        return
    if not sent:
        go, python = f"never sends it, {_NEVER_RUNS}", "does not either"
    elif _true(span, "IgnoreWhenTaskNotRegistered"):
        go, python = "drops it", "drops it, too"
    else:
        go = "puts it back over and over, as it does with every name that it does not know"
        python = "puts it back after growing pauses, and makes it a dead letter after a day"
    text = "the name of the task is empty, and no worker registers an empty name"
    yield _about(span, "Name", text, go, python, path)


def _check_group(span: Span, path: str) -> Iterator[Finding]:
    group, callback = _text(span, "GroupUUID"), span.find("ChordCallback")
    count = _number(span, "GroupTaskCount")
    has_callback = callback is not None and callback.entries is not None
    if has_callback and not group:
        yield _about(
            span,
            "ChordCallback",
            "there is a ChordCallback and no GroupUUID, so the message is not a member of a chord",
            "never sends the callback",
            "never sends it either",
            path,
        )
    if group and has_callback and count <= 0:
        yield _about(
            span,
            "GroupTaskCount",
            f"GroupTaskCount is {count}, but the message is a member of a chord",
            "never sends the callback: the count is not that of the group's members",
            "never sends it either",
            path,
        )
    if count and not group:
        yield _about(
            span,
            "GroupTaskCount",
            f"GroupTaskCount is {count} and there is no GroupUUID",
            "ignores it",
            "",
            path,
            "note",
        )


def _check_steps(span: Span, path: str, runs: bool) -> Iterator[Finding]:
    """Find the faults of the retries and the later steps. ``runs``: False if no worker runs this message."""
    if _number(span, "RetryCount") < 0:
        yield _about(
            span,
            "RetryCount",
            f"RetryCount is {_number(span, 'RetryCount')}",
            "does not retry, as with 0",
            "",
            path,
            "note",
        )
    for name, when in (("OnSuccess", "has succeeded"), ("OnError", "has failed for good")):
        for index, item in enumerate(span.elements(name)):
            if item.entries is None:
                yield Finding(
                    level="fault",
                    text=f"{name}[{index}] is null, where a message is expected",
                    start=item.start,
                    end=item.end,
                    where=f"{path}{name}[{index}]",
                    go=after_panic(f"panics on this null, outside of the task, once the task {when}")
                    if runs
                    else f"never reads it, {_NEVER_RUNS}",
                    python="skips it" if runs else "does not either",
                )
            elif name == "OnSuccess" and _true(item, "Immutable") and not _true(span, "Immutable"):
                yield Finding(
                    level="note",
                    text=f"{_called(item)} is Immutable, and gets the results of {_called(span)} all the same",
                    start=item.start,
                    end=item.end,
                    where=f"{path}{name}[{index}]",
                    go="looks at Immutable of the message that has run, and not of the one that follows",
                    python="does the same",
                )


def _about(
    span: Span,
    field: str,
    text: str,
    go: str,
    python: str = "",
    path: str = "",
    level: str = "fault",
) -> Finding:
    value = span.find(field)
    at = value or span
    return Finding(
        level="note" if level == "note" else "fault",
        text=text,
        start=at.start,
        end=at.end,
        where=path + field,
        go=go,
        python=python,
    )


def _text(span: Span, field: str) -> str:
    value = span.find(field)
    return str(value.scalar) if value is not None and isinstance(value.scalar, str) else ""


def _called(span: Span) -> str:
    return repr(_text(span, "Name")) if _text(span, "Name") else "a task without a name"


def _true(span: Span, field: str) -> bool:
    value = span.find(field)
    return value is not None and value.scalar is True


def _number(span: Span, field: str) -> int:
    value = span.find(field)
    text = getattr(value.scalar, "text", "") if value is not None else ""
    return int(text) if text else 0
