"""The context of a trace in the headers of a signature: strings, as OpenTracing's text map in Go has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

__all__ = ["JAEGER_HEADER", "Headers", "context_of", "with_context"]

Headers = Mapping[str, msgspec.Raw]

#: Header of Jaeger's clients: ``trace id:span id:parent's span id:flags``, in hexadecimal digits.
JAEGER_HEADER: Final = "uber-trace-id"
_JAEGER: Final = re.compile(r"([0-9a-fA-F]{1,32}):([0-9a-fA-F]{1,16}):[0-9a-fA-F]{1,16}:([0-9a-fA-F]{1,2})")


def context_of(headers: Headers | None) -> Context:
    """Read the context that headers carry; return an empty context if they carry no valid one."""
    carrier = _texts(headers)
    context = propagate.extract(carrier, Context())
    if not trace.get_current_span(context).get_span_context().is_valid:
        jaeger = _jaeger_context(carrier.get(JAEGER_HEADER, ""))
        if jaeger is not None:
            context = trace.set_span_in_context(NonRecordingSpan(jaeger), context)
    return context


def with_context(headers: Headers | None, context: Context, *, jaeger: bool) -> dict[str, msgspec.Raw]:
    """Return the headers with a context in them.

    Args:
        headers: the headers of a signature; the new context replaces an old one in them.
        context: the context.
        jaeger: write the header of Jaeger's clients, too.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    span = trace.get_current_span(context).get_span_context()
    if jaeger and span.is_valid:
        carrier[JAEGER_HEADER] = f"{span.trace_id:032x}:{span.span_id:016x}:0:{int(span.trace_flags):x}"
    return {
        **(headers or {}),
        **{name: msgspec.Raw(msgspec.json.encode(text)) for name, text in carrier.items()},
    }


def has_jaeger(headers: Headers | None) -> bool:
    """True if headers carry a context in the form of Jaeger's clients."""
    return bool(headers) and JAEGER_HEADER in (headers or {})


def _jaeger_context(text: str) -> SpanContext | None:
    match = _JAEGER.fullmatch(unquote(text))  # some clients escape the colons
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
    return found if found.is_valid else None


def _texts(headers: Headers | None) -> dict[str, str]:
    """Return the headers that are strings. Go: its text map skips all others."""
    found = {}
    for name, raw in (headers or {}).items():
        if bytes(raw).startswith(b'"'):
            found[name] = str(msgspec.json.decode(raw))
    return found
