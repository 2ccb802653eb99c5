"""Records the messages that a Celery producer gives to its transport: ``python -m tests.celery.record``.

The result is ``recordings.json``.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from celery import Celery, chain, chord, group
from kombu import Connection
from kombu.transport.memory import Channel, Transport

from gearmesh.celery.codec import to_wire
from gearmesh.celery.content import read
from gearmesh.wire.codec import encode


class Recorder(Channel):  # type: ignore[misc]
    """Keeps each message instead of sending it."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def basic_publish(self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any) -> None:
        self.seen.append({**message, "queue": routing_key})


class Recording(Transport):  # type: ignore[misc]
    """kombu's, with the channel above."""

    Channel = Recorder


def main() -> None:
    """Write the file anew."""
    rows = []
    for name, protocol, serializer, send in CASES:
        app = Celery("recorded", broker="memory://", set_as_current=False)
        app.conf.update(
            task_protocol=protocol,
            task_serializer=serializer,
            broker_transport="tests.celery.record:Recording",
        )
        app.task(name="add")(_add)
        app.task(name="total")(_total)
        Recorder.seen.clear()
        with Connection("memory://", transport=Recording) as connection:
            send(app, app.amqp.Producer(connection))
        for i, sent in enumerate(Recorder.seen):
            body = sent["body"].encode() if isinstance(sent["body"], str) else sent["body"]
            message = read(body, sent["content-type"], sent["headers"], sent["properties"])
            assert message is not None
            rows.append(
                {
                    "name": f"{name}-{i}",
                    "queue": sent["queue"],
                    "content_type": sent["content-type"],
                    "headers": sent["headers"],
                    "properties": {k: sent["properties"].get(k) for k in ("priority", "reply_to")},
                    "body": base64.b64encode(body).decode(),
                    "signature": encode(to_wire(message, queue=sent["queue"])).decode(),
                }
            )
    path = Path(__file__).parent / "recordings.json"
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _add(x: Any, y: Any) -> Any:
    return x + y


def _total(numbers: list[Any]) -> Any:
    return sum(numbers)


def _call(*args: Any, kwargs: Any = None, **options: Any) -> Any:
    return lambda app, to: app.tasks["add"].apply_async(args, kwargs, producer=to, task_id="id-1", **options)


def _canvas(make: Any) -> Any:
    def send(app: Any, to: Any) -> None:
        add, total = app.tasks["add"], app.tasks["total"]
        app.conf.result_backend = "cache+memory://"
        make(add, total).apply_async(producer=to)

    return send


CASES: list[tuple[str, int, str, Any]] = [
    ("plain", 2, "json", _call(1, 2)),
    ("kwargs", 2, "json", _call(1, kwargs={"y": {"deep": [None, 1.5]}})),
    ("bytes", 2, "json", _call(b"\x00\xff", "é")),
    (
        "options",
        2,
        "json",
        _call(1, 2, expires=3600, time_limit=9, soft_time_limit=8, priority=3, shadow="other"),
    ),
    ("headers", 2, "json", _call(1, 2, headers={"who": "me", "deep": {"a": 1}, "yes": True})),
    ("countdown", 2, "json", _call(1, 2, countdown=60)),
    ("retried", 2, "json", _call(1, 2, retries=3)),
    ("msgpack", 2, "msgpack", _call(b"\x00\xff", [1, 2])),
    ("first", 1, "json", _call(1, 2)),
    ("first-msgpack", 1, "msgpack", _call(b"\xff", 2)),
    ("first-later", 1, "json", _call(1, 2, countdown=60, expires=120)),
    ("chain", 2, "json", _canvas(lambda add, total: chain(add.s(1, 2), add.s(3), add.si(4, 5)))),
    ("group", 2, "json", _canvas(lambda add, total: group(add.s(i, i) for i in range(2)))),
    ("chord", 2, "json", _canvas(lambda add, total: chord([add.s(i, i) for i in range(2)], total.s()))),
    ("link", 2, "json", _call(1, 2, link=[{"task": "add", "args": [5], "kwargs": {}, "options": {}}])),
]

if __name__ == "__main__":
    from tests.celery import record  # the transport is imported by its name

    record.main()
