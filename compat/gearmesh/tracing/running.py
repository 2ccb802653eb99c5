"""A consumer span around each run of a task."""

from __future__ import annotations

from contextvars import Token
from typing import NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from gearmesh.interfaces.commit import Commit
from gearmesh.interfaces.observer import ObservedJob, TaskObserver
from gearmesh.tracing.attributes import attributes_of
from gearmesh.tracing.chords import ChordMembers
from gearmesh.tracing.headers import context_of
from gearmesh.urls import redact_text
from gearmesh.wire.state import FAILURE, PENDING

__all__ = ["TracedRuns"]


class _Begun(NamedTuple):
    span: Span
    token: Token[Context]


class TracedRuns(TaskObserver):
    """Runs each task inside a consumer span; an observer of tasks (``app.observers``).

    The span's parent is the span that sent the message. A retry is another span of the same trace, because the failed
    try has sent it.

    Args:
        tracer: makes the spans.
        system: the broker's messaging system, see :func:`~.attributes.system_of`.
        members: takes the members of chords that have ended.
    """

    def __init__(self, tracer: Tracer, system: str, members: ChordMembers) -> None:
        self._tracer = tracer
        self._system = system
        self._members = members

    def begins(self, job: ObservedJob) -> object:
        """Begin the span, and make it the present one."""
        sig, delivery = job.sig, job.delivery
        attributes = attributes_of(sig, self._system, delivery.queue, "process")
        attributes["messaging.consumer.group.name"] = delivery.queue
        if delivery.redelivered:
            attributes["gearmesh.redelivered"] = delivery.redelivered
        parent = context_of(sig.Headers)
        span = self._tracer.start_span(f"process {sig.Name}", parent, SpanKind.CONSUMER, attributes)
        return _Begun(span, contexts.attach(trace.set_span_in_context(span, parent)))

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        """End the span, with the outcome."""
        if not isinstance(begun, _Begun):  # the span could not begin
            return
        contexts.detach(begun.token)
        span, sig = begun.span, job.sig
        own = next((state for state in commit.states if state.TaskUUID == sig.UUID), None)
        if own is not None and own.State == FAILURE:
            span.set_status(Status(StatusCode.ERROR, redact_text(own.Error)))
            span.set_attribute("error.type", "failed")
        elif own is not None and own.State == PENDING:
            span.set_status(Status(StatusCode.ERROR, "retried"))
            span.set_attribute("error.type", "retried")
        if sig.ChordCallback is not None:
            self._members.ended(sig.ChordCallback.UUID, span.get_span_context())
        span.end()
