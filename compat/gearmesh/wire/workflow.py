"""Makes the signatures to send after an outcome, and the signatures of workflows, with pure functions.

They use no clock and no random numbers: callers pass in times, as nanoseconds since the Unix epoch,
and a callable ``new_id`` that returns a fresh uuid4 as text (without ``task_``).

Source: recordings ``redis/{chain,group,chord,task_*}.json``, ``fibonacci.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from gearmesh.errors import LocalProtocolError
from gearmesh.wire import gotime
from gearmesh.wire.gojson.write import unicode
from gearmesh.wire.retry import fibonacci_next
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult, TaskState
from gearmesh.wire.types import arg

__all__ = [
    "after_failure",
    "after_success",
    "chord_callback",
    "make_chain",
    "make_chord",
    "make_group",
    "prepare",
    "retried",
    "retried_after",
    "retried_later",
]

NewId = Callable[[], str]


def prepare(sig: Signature, *, queue: str, new_id: NewId) -> Signature:
    """Fill in an empty UUID, an empty RoutingKey and null Headers before a signature is sent.

    ``queue``: the sender's default queue. Go: it is the **sender's**, so the next step of a chain
    that names no queue goes to the queue of the worker that ran the step before.
    The callback of a chord gets Headers, too, since Go writes a trace into them.
    """
    callback = sig.ChordCallback
    if callback is not None and callback.Headers is None:
        sig = msgspec.structs.replace(sig, ChordCallback=msgspec.structs.replace(callback, Headers={}))
    if sig.UUID and sig.RoutingKey and sig.Headers is not None:
        return sig
    return msgspec.structs.replace(
        sig,
        UUID=sig.UUID or f"task_{new_id()}",
        RoutingKey=sig.RoutingKey or queue,
        Headers={} if sig.Headers is None else sig.Headers,
    )


def after_success(sig: Signature, results: Sequence[TaskResult]) -> tuple[Signature, ...]:
    """Return the signatures to send after SUCCESS: those of OnSuccess, with ``results`` as further arguments.

    Go: the parent's Immutable decides if results are passed on; the child's is ignored.
    """
    if not sig.OnSuccess:
        return ()
    children = (child for child in sig.OnSuccess if child is not None)
    if sig.Immutable:
        return tuple(children)
    return tuple(_append(child, results) for child in children)


def after_failure(sig: Signature, error: str) -> tuple[Signature, ...]:
    """Return the signatures to send after FAILURE: those of OnError, with the error's text as their first argument.

    Go: Immutable changes nothing here. Lone surrogates in ``error`` become U+FFFD.
    """
    if not sig.OnError:
        return ()
    first = arg("string", unicode(error))
    return tuple(
        msgspec.structs.replace(child, Args=(first, *(child.Args or ())))
        for child in sig.OnError
        if child is not None
    )


def retried(sig: Signature, now_ns: int) -> Signature:
    """Return the signature for one more try: one retry fewer, later by the next Fibonacci number of seconds.

    The caller must have checked that RetryCount is above 0.
    """
    seconds = fibonacci_next(sig.RetryTimeout)
    return retried_after(sig, now_ns, seconds * 1_000_000_000, seconds)


def retried_after(sig: Signature, now_ns: int, delay_ns: int, seconds: int) -> Signature:
    """Return the signature for one more try ``delay_ns`` from now, one retry fewer.

    ``seconds`` becomes RetryTimeout, so that a worker that does the next retry by Go's rule waits longer than that.
    """
    return msgspec.structs.replace(
        sig,
        RetryCount=sig.RetryCount - 1,
        RetryTimeout=seconds,
        ETA=gotime.format_ns(now_ns + delay_ns),
    )


def retried_later(sig: Signature, now_ns: int, delay_ns: int) -> Signature:
    """Return the signature for another try ``delay_ns`` from now, for which the task has asked.

    Go: ``ErrRetryTaskLater``; the retry count does not change.
    """
    return msgspec.structs.replace(sig, ETA=gotime.format_ns(now_ns + delay_ns))


def chord_callback(callback: Signature, states: Iterable[TaskState | None]) -> Signature | None:
    """Return the chord's callback to send; None if a member is not SUCCESS, so that the callback is never sent.

    ``states``: the states of all members, in the order of the group's TaskUUIDs; None: the state is gone.
    Go: results are left out if the **callback** is Immutable.
    """
    results: list[TaskResult] = []
    for state in states:
        if state is None or not state.success:
            return None
        results += state.Results or ()
    return callback if callback.Immutable else _append(callback, results)


def make_chain(sigs: Sequence[Signature], new_id: NewId) -> Signature:
    """Return the first signature, with each next one as the only OnSuccess of the one before, and with UUIDs."""
    if not sigs:
        raise LocalProtocolError("a chain needs at least one signature")
    chain: Signature | None = None
    for sig in reversed(sigs):
        changed = _named(sig, "task", new_id)
        chain = changed if chain is None else msgspec.structs.replace(changed, OnSuccess=(chain,))
    assert chain is not None
    return chain


def make_group(sigs: Sequence[Signature], group_uuid: str, new_id: NewId) -> tuple[Signature, ...]:
    """Return the signatures as members of one group, with UUIDs. ``group_uuid``: ``group_<uuid4>``."""
    if not sigs:
        raise LocalProtocolError("a group needs at least one signature")
    return tuple(
        msgspec.structs.replace(_named(sig, "task", new_id), GroupUUID=group_uuid, GroupTaskCount=len(sigs))
        for sig in sigs
    )


def make_chord(
    sigs: Sequence[Signature], callback: Signature, group_uuid: str, new_id: NewId
) -> tuple[Signature, ...]:
    """Make a group whose members all carry ``callback``, which gets a UUID ``chord_<uuid4>``."""
    members = make_group(sigs, group_uuid, new_id)
    named = _named(callback, "chord", new_id)
    if named.Headers is None:
        named = msgspec.structs.replace(named, Headers={})
    return tuple(msgspec.structs.replace(member, ChordCallback=named) for member in members)


def _named(sig: Signature, prefix: str, new_id: NewId) -> Signature:
    return sig if sig.UUID else msgspec.structs.replace(sig, UUID=f"{prefix}_{new_id()}")


def _append(sig: Signature, results: Sequence[TaskResult]) -> Signature:
    if not results:
        return sig
    added = tuple(Arg("", one.Type, one.Value) for one in results)
    return msgspec.structs.replace(sig, Args=(sig.Args or ()) + added)
