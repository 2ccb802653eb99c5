"""A whole session of gearmesh leaves the same queues and messages in RabbitMQ as a recorded session of Machinery."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import amqp
import pytest
from tests.support.servers import RabbitServer

from gearmesh import App, chord
from gearmesh.errors import TaskFailed
from gearmesh.testing.waiting import eventually
from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.names import amqp_due
from gearmesh.worker import Worker

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "amqp.json").read_text())
BINDING = ("source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments")
COLUMNS = ("name", "durable", "auto_delete", "exclusive", "arguments", "messages", "consumers")

_ID = re.compile(r"\b(task|group|chord)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CREATED = re.compile(r'"CreatedAt":"2[^"]*"')

Json = dict[str, Any]


class Broker:
    """One vhost with its queues, bindings and messages."""

    def __init__(self, server: RabbitServer, url: str) -> None:
        self.url = url
        self._server = server
        self._vhost = url.rpartition("/")[2]

    def queues(self) -> dict[str, Json]:
        """Return the queues as recorded, by name, without gearmesh's own, which Go never reads."""
        rows = self._server.listing("queues", *COLUMNS, vhost=self._vhost)
        return by_name([row for row in rows if not row["name"].startswith("gearmesh:")])

    def names(self) -> list[str]:
        """The names of all queues."""
        return [row["name"] for row in self._server.listing("queues", *COLUMNS, vhost=self._vhost)]

    def bindings(self) -> list[Json]:
        """Return the bindings as recorded, except those to the default exchange, which RabbitMQ makes itself."""
        rows = self._server.listing("bindings", *BINDING, vhost=self._vhost)
        return sorted((row for row in rows if row["source_name"]), key=str)

    def messages(self, queue: str) -> list[Json]:
        """Take the messages of a queue, and return them as recorded, with ids and times replaced."""
        target = parse(self.url, "broker")
        assert isinstance(target, AMQPTarget)
        found = []
        with amqp.Connection(**target.to_amqp()) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue, no_ack=True)) is not None:
                info = got.delivery_info
                body = got.body if isinstance(got.body, str) else bytes(got.body).decode()
                properties = {key: value for key, value in got.properties.items() if value is not None}
                found.append(
                    {
                        "exchange": info["exchange"],
                        "routing_key": info["routing_key"],
                        "properties": properties,
                        "body": body,
                    }
                )
        return alike(found)


def by_name(rows: list[Json]) -> dict[str, Json]:
    return {row["name"]: {**row, "arguments": sorted(row["arguments"])} | {"name": None} for row in rows}


def recorded_queue(step: str, name: str) -> Json:
    row = GOLDEN[step][name]
    return {**row, "arguments": sorted(row["arguments"]), "name": None}


def alike(value: Any) -> Any:
    """Return the value with times and ids replaced, which differ in each run."""
    if isinstance(value, str):
        return _CREATED.sub('"CreatedAt":"*"', _ID.sub(r"\1_*", value))
    if isinstance(value, list):
        return [alike(each) for each in value]
    return {key: alike(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.fixture
def broker(rabbitmq_server: RabbitServer, amqp_url: str) -> Broker:
    return Broker(rabbitmq_server, amqp_url)


@pytest.fixture
def app(broker: Broker) -> Iterator[App]:
    with App(broker=broker.url, backend=broker.url) as app:

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        @app.task
        def fail(text: str) -> None:
            raise ValueError(text)

        yield app


def test_a_client_leaves_go_s_queues_bindings_and_messages(app: App, broker: Broker) -> None:
    sent = app.tasks["add"].s(1).set(headers={"trace": "x"}, priority=7).apply_async()
    queues = broker.queues()
    assert queues[sent.uuid] == recorded_queue(
        "queues_after_client_publish", next(iter(GOLDEN["pending_state_queue"]))
    )
    # Go makes a queue named like the binding key, which no worker reads; gearmesh makes the one that workers read.
    orphan = recorded_queue("queues_after_client_publish", "machinery_task")
    assert queues == {sent.uuid: queues[sent.uuid], "machinery_tasks": orphan}
    recorded = [row for row in GOLDEN["bindings"] if row["source_name"]]
    ours = alike(broker.bindings())
    theirs = alike(recorded)
    for row in theirs:
        if row["destination_name"] == "machinery_task":
            row["destination_name"] = "machinery_tasks"
    assert ours == sorted(theirs, key=str)
    assert broker.messages("machinery_tasks") == alike(GOLDEN["message_plain_in_machinery_task"])
    ((_, state),) = GOLDEN["pending_state_queue"].items()
    assert broker.messages(sent.uuid) == alike(state)


@pytest.mark.parametrize(
    ("outcome", "recording"),
    [("success", "state_messages_after_success"), ("failure", "state_messages_after_failure")],
)
def test_the_states_of_a_task(app: App, broker: Broker, outcome: str, recording: str) -> None:
    with working(app):
        sent = app.tasks["add"].delay(1, 2) if outcome == "success" else app.tasks["fail"].delay("no")
        backend = app.backend
        eventually(lambda: (state := backend.read([sent.uuid])[0]) is not None and state.final)
    ((_, recorded),) = GOLDEN[recording].items()
    queue = broker.queues()[sent.uuid]
    assert queue == {**recorded_queue("queues_after_success", _task()), "messages": queue["messages"]}
    theirs = alike(recorded)
    ours = broker.messages(sent.uuid)
    assert ours[-1] == theirs[-1], "the last message equals Go's last"
    assert all(message in theirs for message in ours)


def test_a_worker_and_its_retries(app: App, broker: Broker) -> None:
    """The queue that it reads is Go's; the retry comes back through it from queues that Go never sees."""
    fail = app.tasks["fail"]
    with working(app):
        listed = eventually(lambda: (q := broker.queues()).get("machinery_tasks", {}).get("consumers") and q)
        assert listed == {"machinery_tasks": recorded_queue("queues_with_worker", "machinery_tasks")}
        sent = fail.s("no").set(retry_count=1).apply_async()
        with pytest.raises(TaskFailed, match="no"):
            sent.get(timeout=20)
    names = broker.names()
    assert amqp_due("machinery_exchange", "machinery_task") in names, "the retry waited in gearmesh's queues"
    assert not [name for name in names if name.startswith("delay.")], "and in none of Go's kind, which expire"


def test_a_chord_leaves_the_same_queues_as_go_s(app: App, broker: Broker) -> None:
    """But for the mark that keeps everybody from a second callback, which Go looks for and never sets."""
    with working(app):
        add = app.tasks["add"]
        result = chord([add.s(1), add.s(2)], add.s()).apply_async()
        assert result.get(timeout=20) == 3
        group = result.uuid
        eventually(lambda: group not in broker.queues())
        left = broker.queues()
    chord_queue = recorded_queue("queues_after_chord", _chord())
    (body,) = (name for name in left if name.startswith("chord_"))
    assert {**left[body], "messages": 0} == chord_queue
    others = {name for name in left if not name.startswith(("task_", "chord_"))}
    assert others == {"machinery_tasks", f"{group}_chord_triggered"}


def _task() -> str:
    return next(iter(GOLDEN["state_messages_after_success"]))


def _chord() -> str:
    return next(name for name in GOLDEN["queues_after_chord"] if name.startswith("chord_"))


@contextmanager
def working(app: App) -> Iterator[None]:
    """A worker of the app's in this process."""
    worker = Worker(app, None, 2).start()
    try:
        yield
    finally:
        worker.stop(10)
