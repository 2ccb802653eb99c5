"""Puts tracing into an app."""

from __future__ import annotations

from opentelemetry.trace import TracerProvider, get_tracer

from gearmesh import __version__
from gearmesh.app.app import App
from gearmesh.errors import ConfigError
from gearmesh.tracing.attributes import system_of
from gearmesh.tracing.chords import ChordMembers
from gearmesh.tracing.running import TracedRuns
from gearmesh.tracing.sending import TracedSending
from gearmesh.urls import scheme_of

__all__ = ["instrument"]


def instrument(app: App, *, tracer_provider: TracerProvider | None = None, jaeger: bool = False) -> None:
    """Trace all messages that an app sends, and all tasks that its workers run.

    Call it in the module of the app, before the app is used.

    Args:
        app: the app.
        tracer_provider: makes the tracer; None: the program's own provider.
        jaeger: write the header of Jaeger's clients into all messages, for Go programs that know no other header.
            gearmesh always reads it. If a task came with it, gearmesh also writes it into the tasks that follow.

    Raises:
        ConfigError: the app is traced already.
    """
    if any(isinstance(each, TracedRuns) for each in app.observers):
        raise ConfigError("tracing: this app is traced already")
    tracer = get_tracer("gearmesh", __version__, tracer_provider)
    system = system_of(scheme_of(app.config.brokers[0]))
    members = ChordMembers()
    app.before_publish(TracedSending(tracer, system, members, jaeger=jaeger))
    app.observers.append(TracedRuns(tracer, system, members))
