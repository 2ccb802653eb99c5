"""The example of ``docs/howto/traces.md`` as it runs: a worker of its own, and a message of a traced Go program."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.unit.operations.conftest import Launch

from gearmesh import App
from gearmesh.wire.codec import decode

PAGE = (Path(__file__).parents[3] / "docs/howto/traces.md").read_text("utf-8")
OTLP = "from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter\n"
#: Stands in for the exporter that needs a collector: it writes the spans to a file.
EXPORTER = """
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

class OTLPSpanExporter(SpanExporter):
    def export(self, spans):
        with open("spans.jsonl", "a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\\n")
        return SpanExportResult.SUCCESS

"""
TASKS = """

@app.task
def resize(name: str) -> str:
    return name

@app.task
def upload(name: str) -> None:
    pass
"""


def example(url: str) -> str:
    (code,) = re.findall(r"```python\n(from gearmesh import App\n.*?)```", PAGE, re.DOTALL)
    assert OTLP in code
    return str(code.replace(OTLP, EXPORTER).replace("redis://localhost:6379/0", url)) + TASKS


def go_message() -> Any:
    """Return the message on the page, with the fields that the page leaves out."""
    (line,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    message = json.loads(line.replace(", …}", "}"))
    message |= {
        "UUID": "task_1",
        "Args": [{"Type": "string", "Value": "cat.jpg"}],
        "OnSuccess": [{"UUID": "task_2", "Name": "upload"}],
    }
    return decode(json.dumps(message).encode())


def test_a_go_trace_goes_on_in_python(launch: Launch, project: Path, redis_url: str) -> None:
    (project / "shop.py").write_text(example(redis_url))
    worker = launch("worker", "shop:app", "--log-format", "json")
    with App(redis_url, redis_url) as app:
        app.send(go_message())
        app.result("task_2").get(timeout=60)
    assert worker.end() == 0  # it exports the last spans as it ends
    spans = [json.loads(line) for line in (project / "spans.jsonl").read_text().splitlines()]
    names = {span["name"] for span in spans}
    assert {"process resize", "process upload"} <= names
    assert {span["context"]["trace_id"] for span in spans} == {"0x4bf92f3577b34da6a3ce929d0e0e4736"}
    (resize,) = (span for span in spans if span["name"] == "process resize")
    assert resize["parent_id"] == "0x00f067aa0ba902b7"
    lines = [json.loads(line) for line in worker.output.splitlines()]
    traced = {line["uuid"]: line["trace_id"] for line in lines if "succeeded" in line["message"]}
    assert traced == dict.fromkeys(("task_1", "task_2"), "4bf92f3577b34da6a3ce929d0e0e4736")
