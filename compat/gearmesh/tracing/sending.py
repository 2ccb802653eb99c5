"""A producer span for each signature that is sent, and its context in the headers."""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Tracer

from gearmesh.tracing.attributes import attributes_of
from gearmesh.tracing.chords import ChordMembers
from gearmesh.tracing.headers import context_of, has_jaeger, with_context
from gearmesh.wire.signature import Signature

__all__ = ["TracedSending"]

log = logging.getLogger("gearmesh.tracing")

#: The number of levels at which nested signatures get a context: the steps of a chain that a Go worker may send.
MAX_NESTED_LEVELS: Final = 50


class TracedSending:
    """Makes a producer span for each message; a hook before each publish (``app.before_publish``).

    Args:
        tracer: makes the spans.
        system: the broker's messaging system, see :func:`~.attributes.system_of`.
        members: the members of chords that have ended.
        jaeger: write the header of Jaeger's clients into all messages. False: only into signatures that have it.
    """

    def __init__(self, tracer: Tracer, system: str, members: ChordMembers, *, jaeger: bool) -> None:
        self._tracer = tracer
        self._system = system
        self._members = members
        self._jaeger = jaeger

    def __call__(self, sig: Signature) -> Signature:
        """Return the signature with the context of its producer span."""
        try:
            return self._traced(sig)
        except Exception:  # a task must not fail because of its trace
            log.exception("a message is sent without a trace")
            return sig

    def _traced(self, sig: Signature) -> Signature:
        parent = contexts.get_current()
        if not trace.get_current_span(parent).get_span_context().is_valid:
            # No task runs in this thread, for example after a chord is complete. Its callback has its sender's context.
            parent = context_of(sig.Headers)
        queue = sig.RoutingKey
        span = self._tracer.start_span(
            f"send {queue}",
            parent,
            SpanKind.PRODUCER,
            attributes_of(sig, self._system, queue, "send"),
            self._members.links(sig.UUID),
        )
        span.end()
        context = trace.set_span_in_context(span, parent)
        return _marked(sig, context, jaeger=self._jaeger or has_jaeger(sig.Headers), levels=MAX_NESTED_LEVELS)


def _marked(sig: Signature, context: Context, *, jaeger: bool, levels: int) -> Signature:
    """Write a context into a signature and into those that follow it: Go sends these as they are."""
    changed = msgspec.structs.replace(sig, Headers=with_context(sig.Headers, context, jaeger=jaeger))
    if not levels or not sig.nested():
        return changed

    def each(below: tuple[Signature | None, ...] | None) -> tuple[Signature | None, ...] | None:
        if below is None:
            return None
        return tuple(child and _marked(child, context, jaeger=jaeger, levels=levels - 1) for child in below)

    callback = sig.ChordCallback
    return msgspec.structs.replace(
        changed,
        OnSuccess=each(sig.OnSuccess),
        OnError=each(sig.OnError),
        ChordCallback=callback and _marked(callback, context, jaeger=jaeger, levels=levels - 1),
    )
