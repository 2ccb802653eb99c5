"""Traces of OpenTelemetry: a span for each message that is sent, and one for each run of a task.

The context of a trace travels in the headers of a signature, where Go's Machinery has it:

1. ``sending.py``: the :class:`~.sending.TracedSending` is a hook before each publish. It makes a producer span and
   writes its context into the headers, also into those of the signatures inside.
2. ``running.py``: the :class:`~.running.TracedRuns` is an observer of a worker's tasks. It reads the context from the
   headers and runs the task inside a consumer span, so that all that the task sends continues the trace.
3. ``headers.py`` reads and writes the headers: by OpenTelemetry's propagators, and in the form of Jaeger's clients,
   which Go programs with OpenTracing have.

Begin with :func:`instrument`. It needs the package ``opentelemetry-api`` alone (the extra ``otel``). The spans go where
the program's own set-up of OpenTelemetry's SDK sends them. Without an SDK no span is recorded, and contexts are passed
on.

Never: import OpenTelemetry elsewhere; put arguments or results of tasks into a span; let tracing fail a task.
"""

from gearmesh.tracing.instrument import instrument

__all__ = ["instrument"]
