"""Traces: one over Go's headers, Python, a chain and a chord; retries; and unusable headers of other programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from uuid import uuid4

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id, get_current_span

from gearmesh import App, ConfigError, Retry, chain, chord, group
from gearmesh.logs import JsonFormatter, TaskFilter
from gearmesh.testing.waiting import eventually
from gearmesh.tracing import instrument
from gearmesh.tracing.headers import context_of, with_context
from gearmesh.wire.signature import Signature
from gearmesh.worker import Worker

GO_TRACE, GO_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
JAEGER = f"{GO_TRACE}:{GO_SPAN}:0:1"
W3C = f"00-{GO_TRACE}-{GO_SPAN}-01"


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def app(provider: TracerProvider) -> Iterator[App]:
    url = f"memory://{uuid4().hex}"
    with App(url, url) as app:
        instrument(app, tracer_provider=provider)

        @app.task
        def add(a: int, b: int) -> int:
            return a + b

        @app.task
        def total(*values: int) -> int:
            return sum(values)

        @app.task
        def begin() -> int:
            chain(add.s(1, 2), add.s(3)).delay()
            return int(chord(group(add.s(1, 1), add.s(2, 2)), total.s()).delay() is not None)

        @app.task(retry=Retry(max=2, first=0.01, most=0.01))
        def flaky() -> None:
            raise ValueError("secret redis://:password@host/0")

        yield app


def finished(exporter: InMemorySpanExporter, kind: SpanKind, count: int) -> list[ReadableSpan]:
    """Return so many spans of a kind, once they have ended."""

    def found() -> list[ReadableSpan]:
        return [span for span in exporter.get_finished_spans() if span.kind is kind]

    eventually(lambda: len(found()) >= count)
    assert len(found()) == count
    return found()


def trace_of(span: ReadableSpan) -> str:
    return format_trace_id(span.get_span_context().trace_id)


@pytest.mark.parametrize("header", [("uber-trace-id", JAEGER), ("traceparent", W3C)], ids=["jaeger", "w3c"])
def test_one_trace_from_go_to_a_chain_and_a_chord(
    app: App, exporter: InMemorySpanExporter, header: tuple[str, str]
) -> None:
    name, value = header
    headers = {name: raw(value), "number": raw(5), "baggage": raw("a=b")}
    seen: list[Signature] = []
    app.before_publish(seen.append)
    with App(app.config.broker, app.config.backend) as go, Worker(app, concurrency=2):
        go.send(Signature(Name="begin", Headers=headers))  # it has no tracing: as Go's program would send it
        # begin; two steps of the chain; two members and the body of the chord
        runs = finished(exporter, SpanKind.CONSUMER, 6)
    sends = finished(exporter, SpanKind.PRODUCER, 5)
    assert {trace_of(span) for span in (*runs, *sends)} == {GO_TRACE}
    by_id = {format_span_id(span.get_span_context().span_id): span for span in (*runs, *sends)}
    (first,) = [span for span in runs if span.name == "process begin"]
    assert first.parent is not None
    assert format_span_id(first.parent.span_id) == GO_SPAN
    for span in (*runs, *sends):
        if span is not first:
            assert span.parent is not None
            above = by_id[format_span_id(span.parent.span_id)]
            assert (span.kind is SpanKind.CONSUMER) is (above.kind is SpanKind.PRODUCER) or (
                span.kind is above.kind is SpanKind.PRODUCER
            )
    # The body of the chord: in the trace of its sender, with a link to the member that ended last.
    (body,) = [span for span in sends if span.attributes and span.attributes["gearmesh.task"] == "total"]
    (link,) = body.links
    assert by_id[format_span_id(link.context.span_id)].name == "process add"
    # Signatures that follow a task which came with Jaeger's header are to carry it on to Go.
    inside = [sig for sig in seen if sig.Name != "begin"]
    assert all("traceparent" in (sig.Headers or {}) for sig in inside)


def test_attributes(app: App, exporter: InMemorySpanExporter) -> None:
    with Worker(app):
        result = app.tasks["add"].delay(1, 2)
        (run,) = finished(exporter, SpanKind.CONSUMER, 1)
    (send,) = finished(exporter, SpanKind.PRODUCER, 1)
    assert run.name == "process add"
    assert send.name == f"send {app.default_queue}"
    for span, operation in ((run, "process"), (send, "send")):
        attributes = dict(span.attributes or {})
        assert attributes["messaging.operation.name"] == operation
        assert attributes["messaging.destination.name"] == app.default_queue
        assert attributes["messaging.message.id"] == result.id
        assert attributes["messaging.system"] == "memory"
        assert not any("arg" in key.lower() for key in attributes)
    assert run.status.status_code is StatusCode.UNSET


def test_retries_are_spans_of_one_trace(app: App, exporter: InMemorySpanExporter) -> None:
    with Worker(app):
        app.tasks["flaky"].delay()
        runs = finished(exporter, SpanKind.CONSUMER, 3)
    assert len({trace_of(span) for span in runs}) == 1
    assert [span.status.status_code for span in runs] == [StatusCode.ERROR] * 3
    assert [dict(span.attributes or {})["error.type"] for span in runs] == ["retried", "retried", "failed"]
    assert "password" not in (runs[-1].status.description or "")
    parents = [span.parent.span_id for span in runs if span.parent]
    assert len(set(parents)) == 3


def test_async_tasks_and_their_own_spans(
    app: App, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    tracer = provider.get_tracer("shop")

    @app.task
    async def inside() -> str:
        with tracer.start_as_current_span("work"):
            return format_trace_id(get_current_span().get_span_context().trace_id)

    for pool in ("threads", "asyncio"):
        with Worker(app, pool=pool):  # type: ignore[arg-type]
            seen = inside.delay().get(timeout=60)
        (run,) = finished(exporter, SpanKind.CONSUMER, 1)
        (own,) = finished(exporter, SpanKind.INTERNAL, 1)
        assert trace_of(run) == trace_of(own) == seen
        exporter.clear()
    assert not get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(
    "value",
    ["", "x", 5, None, "0:0:0:0", f"{GO_TRACE}:{GO_SPAN}", "::::", "g" * 32 + ":1:0:1", f"{GO_TRACE}f:1:0:1"],
)
def test_headers_that_are_no_context(value: object) -> None:
    for name in ("uber-trace-id", "traceparent"):
        context = context_of({name: raw(value)})
        assert not get_current_span(context).get_span_context().is_valid
    assert context_of(None) == {}


def test_escaped_and_short_jaeger_headers() -> None:
    for text in (JAEGER.replace(":", "%3A"), "abc:def:0:1"):
        span = get_current_span(context_of({"uber-trace-id": raw(text)})).get_span_context()
        assert span.is_valid
        again = with_context({}, context_of({"uber-trace-id": raw(text)}), jaeger=True)
        assert get_current_span(context_of(again)).get_span_context().trace_id == span.trace_id


def test_log_records_have_the_trace(app: App, exporter: InMemorySpanExporter) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(TaskFilter())
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("shop.of.traces")
    log.addHandler(handler)

    @app.task
    def speak() -> None:
        log.warning("hello")

    try:
        with Worker(app):
            speak.delay().wait(timeout=60)
            (run,) = finished(exporter, SpanKind.CONSUMER, 1)
    finally:
        log.removeHandler(handler)
    record = json.loads(stream.getvalue())
    assert (record["task"], record["trace_id"]) == ("speak", trace_of(run))
    assert record["span_id"] == format_span_id(run.get_span_context().span_id)


def test_twice_is_an_error(app: App) -> None:
    with pytest.raises(ConfigError, match="traced already"):
        instrument(app)


def test_jaeger_s_header_for_go_programs_that_know_no_other(provider: TracerProvider) -> None:
    url = f"memory://{uuid4().hex}"
    seen: list[Signature] = []
    with App(url, url) as app:
        instrument(app, tracer_provider=provider, jaeger=True)
        app.before_publish(seen.append)

        @app.task
        def one(*values: int) -> int:
            return 1

        chain(one.s(), one.s()).delay()
        (first,) = seen
        for sig in (first, *(first.OnSuccess or ())):
            assert sig is not None
            assert set(sig.Headers or {}) == {"traceparent", "uber-trace-id"}
