"""A supervisor cares for children that die while others live."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from gearmesh import App
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import encode
from gearmesh.wire.names import QueueKeys
from gearmesh.wire.signature import Signature
from gearmesh.worker import heartbeater as module
from gearmesh.worker.heartbeater import DeadChild, Heartbeater
from gearmesh.worker.limits import Limits

QUEUE = "machinery_tasks"


def test_a_death_that_cannot_be_settled_stops_no_heartbeats(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its task ran into the hard limit, and the supervisor does not know the task."""
    with App(redis_url, redis_url, lease=1.0) as app, redis.Redis.from_url(redis_url) as client:
        dead, living = (Tap(open_connection(redis_url), (QUEUE,), 1) for _ in range(2))
        for uuid in ("task_x", "task_y"):
            dead.publish(QUEUE, encode(Signature(UUID=uuid, Name="elsewhere", RoutingKey=QUEUE)))
        (message,) = dead.take(1)
        living.take(1)
        news = threading.Event()
        heartbeater = Heartbeater(app, (QUEUE,), Limits(app.tasks, None, None), news.set)
        heartbeater.connect()
        heartbeater.start()
        heartbeater.born(living.name)
        number = message.delivery.id
        death = DeadChild(dead.name, running=[number], overdue=[number])
        heartbeater.died(death)
        try:
            eventually(lambda: death.settled, what="the death to be settled")
            assert client.llen(QUEUE) == 1, "the message goes back to its queue"
            key = QueueKeys(QUEUE).consumers

            def beats() -> bytes | None:
                return client.hget(key, living.name)  # type: ignore[return-value]

            before = beats()
            assert before is not None
            eventually(lambda: beats() != before, what="another heartbeat of the living")
        finally:
            heartbeater.close()
            living.close()
            dead.close()
    assert "could not be failed after its hard limit: KeyError('elsewhere')" in caplog.text


def test_a_stopped_process_gets_no_heartbeats(app: App, caplog: pytest.LogCaptureFixture) -> None:
    """Other workers take over its unacked messages when its lease ends. If it goes on, it gets heartbeats again."""
    beats: list[str] = []
    stopped = {"frozen"}
    heartbeater = Heartbeater(app, (QUEUE,), Limits(app.tasks, None, None), lambda: None)
    heartbeater._channel = SimpleNamespace(heartbeat=lambda consumer, queues: beats.append(consumer))
    for consumer in ("living", "frozen"):
        heartbeater.born(consumer, lambda consumer=consumer: consumer in stopped)  # type: ignore[misc]
    heartbeater._beat()
    heartbeater._beat()
    assert beats == ["living", "living"]
    (warning,) = caplog.messages
    assert "a worker process is stopped" in warning
    stopped.clear()
    heartbeater._beat()
    assert beats[2:] == ["living", "frozen"]


def test_a_death_that_can_never_be_settled_is_abandoned(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The key of its unacked messages has a wrong type. The next death is settled, and live workers get heartbeats."""
    with App(redis_url, redis_url, lease=1.0) as app, redis.Redis.from_url(redis_url) as client:
        damaged, dead, living = (Tap(open_connection(redis_url), (QUEUE,), 1) for _ in range(3))
        for uuid in ("task_x", "task_y", "task_z"):
            dead.publish(QUEUE, encode(Signature(UUID=uuid, Name="elsewhere", RoutingKey=QUEUE)))
        for tap in (damaged, dead, living):
            tap.take(1)
        keys = QueueKeys(QUEUE)
        held = keys.held(damaged.name)
        client.delete(held)
        client.set(held, "of another program")
        news = threading.Event()
        heartbeater = Heartbeater(app, (QUEUE,), Limits(app.tasks, None, None), news.set)
        heartbeater.connect()
        heartbeater.start()
        heartbeater.born(living.name)
        deaths = [DeadChild(damaged.name), DeadChild(dead.name)]
        for death in deaths:
            heartbeater.died(death)
        try:
            eventually(lambda: deaths[1].settled, what="the second death to be settled")
            assert [(death.settled, death.abandoned) for death in deaths] == [(False, True), (True, False)]
            assert client.llen(QUEUE) == 1, "the task of the second one is back"

            def beats() -> bytes | None:
                return client.hget(keys.consumers, living.name)  # type: ignore[return-value]

            before = beats()
            assert before is not None
            eventually(lambda: beats() != before, what="another heartbeat of the living")
        finally:
            heartbeater.close()
            client.delete(held)
            for tap in (damaged, dead, living):
                tap.close()
    assert "they return when its lease ends" in caplog.text


def test_heartbeats_go_on_while_a_death_waits_for_an_unreachable_server(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the result backend is unreachable. That may last, and does not count as an attempt."""
    beats: list[str] = []
    attempts: list[int] = []

    def recover(*args: Any, **options: Any) -> int:
        attempts.append(len(beats))
        if len(attempts) < 6:
            raise ConnectionError("away")
        return 0

    channel = SimpleNamespace(
        heartbeat=lambda consumer, queues: beats.append(consumer), recover=recover, watch=lambda queues: 60.0
    )
    connection = SimpleNamespace(
        connection_errors=(ConnectionError,), channel_errors=(), channel=lambda: channel, close=lambda: None
    )
    monkeypatch.setattr(module, "connect", lambda *args, **options: connection)
    heartbeater = Heartbeater(app, (QUEUE,), Limits(app.tasks, None, None), lambda: None)
    monkeypatch.setattr(heartbeater, "_interval_s", 0.03)
    heartbeater.born("living")
    death = DeadChild("dead")
    heartbeater.died(death)
    heartbeater.start()
    try:
        eventually(lambda: death.settled, 20, "the death to be settled")
    finally:
        heartbeater.close()
    assert attempts[0] == 1, "the living go first"
    assert len(set(attempts)) == 6, "between two attempts there is a heartbeat"
    assert set(beats) == {"living"}
    assert (death.attempts, death.abandoned) == (0, False)
