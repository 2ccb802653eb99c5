"""Sentry's SDK gets the reports of the example in ``docs/howto/deploy.md``, from a real worker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.unit.operations.conftest import Launch

from gearmesh import App
from gearmesh.errors import TaskFailed
from gearmesh.testing.waiting import eventually

PAGE = Path(__file__).parents[3] / "docs/howto/deploy.md"
#: Writes the events to a file instead of sending them.
SINK = """
import json
from sentry_sdk.transport import Transport

class Sink(Transport):
    def capture_envelope(self, envelope):
        with open("events.jsonl", "a") as file:
            for item in envelope.items:
                file.write(json.dumps(item.payload.json, default=str) + "\\n")

"""


def example() -> str:
    (code,) = re.findall(r"```python\n(import sentry_sdk.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert 'dsn="https://…"' in code
    return SINK + code.replace('dsn="https://…"', 'dsn="https://key@sentry.example/1", transport=Sink')


def test_a_failure_is_one_event_with_the_task(launch: Launch, project: Path, redis_url: str) -> None:
    module = project / "shop.py"
    module.write_text(module.read_text() + example())
    worker = launch("worker", "shop:app")
    with App(redis_url, redis_url) as app:
        failed = app.remote("fail", "string").delay("no stock")
        assert isinstance(failed.get(timeout=60, propagate=False), TaskFailed)

    def events() -> list[dict[str, Any]]:
        path = project / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    eventually(lambda: events() != [], what="an event")
    assert worker.end() == 0
    (event,) = events()
    assert event["tags"] == {"task": "fail"}
    assert event["contexts"]["gearmesh"] == {"uuid": failed.uuid, "queue": "machinery_tasks"}
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "no stock")
