"""The worker: messages that it cannot run, remote control, events, and its leftovers in the broker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode

from .conftest import Place
from .processes import CeleryProcess
from .project import GO_QUEUE, make_app
from .test_crossing import arg, sig

pytestmark = pytest.mark.usefixtures("on_redis")


@pytest.fixture
def dead(place: Place) -> Iterator[Any]:
    """The dead letters of the worker's queue."""
    with open_connection(place.url) as connection:
        channel: Any = connection.channel()
        yield lambda: channel.dead_letters("celery")


def dead_of(letters: Any, body: bytes) -> Any:
    return next((letter for letter in letters if letter.body == body), None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no JSON", "cannot be read"),
        (b'{"UUID":"1"}', "without a Name"),
        (b'{"UUID":"1","Name":"add","Args":[{"Type":"int64","Value":"x"}]}', "cannot be read"),
        (b'{"UUID":"1","Name":"add","Headers":{"celery":"{"}}', "Headers"),
        (b'{"UUID":"1","Name":"add","Headers":{"celery":"{\\"h\\":{\\"expires\\":[]}}"}}', "not a task"),
        (b'{"body":"e30=","content-type":"application/json","content-encoding":"utf-8","headers":{},'
         b'"properties":{"delivery_info":{},"delivery_tag":"1","body_encoding":"base64"}}', "not a task of"),
    ],
)  # fmt: skip
def test_an_unreadable_message_becomes_a_dead_letter(
    place: Place, dead: Any, body: bytes, reason: str
) -> None:
    with place.redis() as client:
        client.rpush("celery", body)
    letter = eventually(lambda: dead_of(dead(), body))
    assert reason in letter.reason
    assert place.task("add", 1, 1).delay().get(timeout=10) == 2


def test_an_unknown_name_is_left_to_others(place: Place) -> None:
    """A worker that knows the task gets it, though it comes late; and nothing spins meanwhile."""
    result = place.task("late").delay()
    with place.redis() as client:
        eventually(lambda: client.zcard("gearmesh:{celery}:aside"))
        before = client.info("stats")["total_commands_processed"]
        time.sleep(1.0)
        commands = client.info("stats")["total_commands_processed"] - before
        assert result.state == "PENDING"
        assert commands < 1500
        _, body = client.blpop("celery", timeout=30)  # as a Go worker does
    assert result.id == decode(body).UUID


def test_ignore_when_task_not_registered(place: Place) -> None:
    answer = place.ask(Op="send", Sig=sig("nobody_knows", arg("int64", 1), IgnoreWhenTaskNotRegistered=True))
    assert answer["OK"]
    with place.redis() as client:
        eventually(lambda: not client.llen("celery"))
        assert not client.zcard("gearmesh:{celery}:aside")


def test_the_worker_runs_messages_that_stock_celery_left(place: Place) -> None:
    """Migration: a queue full of messages of Celery's own Redis transport."""
    stock = Celery("stock", broker=place.url, set_as_current=False)
    sent = stock.send_task("add", (20, 22))
    assert place.app.AsyncResult(sent.id).get(timeout=10) == 42
    stock.close()


def test_remote_control(place: Place) -> None:
    inspect = place.app.control.inspect(timeout=2.0)
    (answer,) = eventually(inspect.ping).values()  # None: no answer within 2 s
    assert answer == {"ok": "pong"}
    (registered,) = eventually(inspect.registered).values()
    assert {"add", "gearmesh.apply", "gearmesh.chord", "gearmesh.failed"} <= set(registered)
    (queues,) = eventually(inspect.active_queues).values()
    assert [queue["name"] for queue in queues] == ["celery"]
    (stats,) = eventually(inspect.stats).values()
    assert stats["broker"]["transport_options"]["go_tasks"]["multiply"] == GO_QUEUE


def test_events(place: Place) -> None:
    seen: list[dict[str, Any]] = []
    with place.app.connection_for_read() as connection:
        receiver = place.app.events.Receiver(connection, handlers={"*": seen.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": True})
        thread.start()

        def there() -> bool:
            result = place.task("add", 1, 2).delay()
            result.get(timeout=10)
            kinds = {event["type"] for event in list(seen) if event.get("uuid") == result.id}
            return {"task-received", "task-started", "task-succeeded"} <= kinds

        try:
            eventually(there)
            eventually(lambda: any(event["type"] == "worker-heartbeat" for event in list(seen)))
        finally:
            receiver.should_stop = True
            thread.join(60)


def test_nothing_is_left_over(place: Place) -> None:
    place.task("add", 1, 2).delay().get(timeout=10)
    with open_connection(place.url) as connection:
        channel: Any = connection.channel()
        eventually(lambda: not channel.pending("celery"))
    with place.redis() as client:
        eventually(lambda: not any(client.hlen(key) for key in client.keys("gearmesh:{celery}:held:*")))


def test_a_signature_names_its_queue_and_types(place: Place) -> None:
    """The message in the broker is as Go writes it, with Celery's own parts apart."""
    result = place.app.send_task("add", (1, 2), queue="nobody_reads")
    with place.redis() as client:
        (body,) = client.lrange("nobody_reads", 0, -1)
    found = decode(body)
    assert (found.UUID, found.Name, found.RoutingKey) == (result.id, "add", "nobody_reads")
    assert [json.loads(body)["Args"]] == [[arg("int64", 1), arg("int64", 2)]]
    assert list(json.loads(body)["Headers"]) == ["celery"]


def test_a_stopping_worker_puts_back_unstarted_tasks(redis_url: str) -> None:
    app = make_app(redis_url)
    results = [app.send_task("nap", (1.0,)) for _ in range(6)]
    with CeleryProcess("worker", "-P", "threads", "-c", "1", "-l", "info", broker=redis_url) as worker:
        eventually(lambda: "received" in worker.log())
    with open_connection(redis_url) as connection:
        channel: Any = connection.channel()
        left = [decode(body).UUID for body in channel.pending("celery")]
    done = [result.id for result in results if result.state == "SUCCESS"]
    assert sorted(left + done) == sorted(result.id for result in results)
    assert left
    app.close()
