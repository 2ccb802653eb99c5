"""Delayed messages in RabbitMQ arrive in time, even if RabbitMQ fails or changes meanwhile."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import amqp
import pytest
from tests.support.servers.rabbitmq import RabbitServer

from gearmesh import App, Retry
from gearmesh.config import AMQPConfig, Config
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.contracts.support import Tap, signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.amqp import topology
from gearmesh.transports.amqp.topology import RUNGS_MS
from gearmesh.transports.registry import connect as connect_app
from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.names import amqp_due, amqp_rung
from gearmesh.worker import Worker

QUEUE = "machinery_tasks"
DUE = amqp_due("machinery_exchange", "machinery_task")


class Bench:
    """A vhost, taps on it, and a raw channel for the actions of an operator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stack = ExitStack()
        target = parse(url, "broker")
        assert isinstance(target, AMQPTarget)
        self.connection = amqp.Connection(f"{target.host}:{target.port}", virtual_host=target.virtual_host)
        self.connection.connect()
        self.channel = self.connection.channel()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        with suppress(OSError):  # killed
            self.connection.close()

    def tap(self, *queues: str, **settings: Any) -> Tap:
        config = Config(broker=self.url, amqp=AMQPConfig(**settings))
        tap = Tap(connect_app(config), (), 0)
        self._stack.callback(tap.close)
        for queue in queues:
            tap.channel.basic_consume(
                queue, callback=lambda raw: tap.got.append(tap.channel.message_to_python(raw))
            )
        return tap

    def send(
        self, *bodies: bytes, seconds: float = 0.2, key: str = "machinery_task", **settings: Any
    ) -> None:
        """Send by a producer that ends right afterwards."""
        tap = self.tap(**settings)
        tap.publish(key, *bodies, eta_ns=time.time_ns() + int(seconds * 1e9))
        tap.close()

    def count(self, queue: str) -> int:
        try:
            return int(self.channel.queue_declare(queue, passive=True).message_count)
        except amqp.NotFound:
            return 0


@pytest.fixture
def bench(amqp_url: str) -> Iterator[Bench]:
    with Bench(amqp_url) as bench:
        yield bench


@pytest.fixture
def impatient(rabbitmq_server: RabbitServer) -> Iterator[None]:
    """RabbitMQ soon tries again to get rid of a message that no queue has taken."""
    setting = "rabbit, dead_letter_worker_publisher_confirm_timeout"
    before = rabbitmq_server.evaluate(f"element(2, application:get_env({setting})).")
    rabbitmq_server.evaluate(f"application:set_env({setting}, 300).")
    yield
    rabbitmq_server.evaluate(f"application:set_env({setting}, {before}).")


# -- on the way


@pytest.mark.parametrize("ms", [1, 8, 40, 333, 1016, 1024])
def test_a_message_is_never_early_and_says_that_it_may_be_there_twice(bench: Bench, ms: int) -> None:
    tap = bench.tap(QUEUE)
    due = time.time_ns() + ms * 10**6
    tap.publish("machinery_task", b"x", eta_ns=due)
    (message,) = tap.take(1)
    assert time.time_ns() >= due
    delivery = message.delivery
    assert delivery.republished
    assert (delivery.redelivered, delivery.duplicate_attempt, delivery.crash_count) == (0, 0, None)
    assert "CC" not in message.headers, "RabbitMQ would route a copy by it"


def test_many_with_different_delays_are_each_in_time(bench: Bench) -> None:
    tap = bench.tap(QUEUE)
    due: dict[bytes, int] = {}
    for number in range(100):
        body = b"%d" % number
        due[body] = time.time_ns() + random.randrange(1, 2000) * 10**6
        tap.publish("machinery_task", body, eta_ns=due[body])
    for _ in range(100):
        (message,) = tap.take(1)
        assert time.time_ns() >= due.pop(message.body)
    assert due == {}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "mail"),
        ({"exchange": "swap", "binding_key": "key"}, "key"),
        ({"exchange": "by_topic", "exchange_type": "topic", "binding_key": "orders.#"}, "orders.new.#"),
        ({"exchange": "to_all", "exchange_type": "fanout"}, "whatever"),
    ],
)
def test_a_delay_ends_in_the_exchange_with_the_routing_key(
    bench: Bench, settings: dict[str, Any], key: str
) -> None:
    """So a queue that another program has bound gets its copy, too, and gets it once."""
    bench.send(b"first", key=key, **settings)
    exchange = settings.get("exchange", "machinery_exchange")
    bench.channel.queue_declare("audit", durable=True, auto_delete=False)
    bench.channel.queue_bind("audit", exchange, key)
    bench.send(b"second", key=key, **settings)
    bodies: list[bytes] = []

    def arrived() -> bool:
        message = bench.channel.basic_get("audit", no_ack=True)
        if message is None:
            return False
        assert message.delivery_info["exchange"] == exchange
        assert message.delivery_info["routing_key"] == key
        bodies.append(bytes(message.body.encode() if isinstance(message.body, str) else message.body))
        return bodies[-1] == b"second"

    eventually(arrived)
    assert bench.channel.basic_get("audit") is None


def test_a_producers_batch_is_delayed(bench: Bench) -> None:
    tap = bench.tap()
    bodies = [b"%d" % number for number in range(100)]
    eta_ns = time.time_ns() + 300 * 10**6
    tap.publish("machinery_task", *bodies, eta_ns=eta_ns)
    tap.close()
    reader = bench.tap(QUEUE)
    assert sorted(reader.bodies(100)) == sorted(bodies)
    reader.quiet()


# -- targets that are gone or full


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_is_gone_when_a_delay_ends_gets_the_message_once_it_is_there_again(
    bench: Bench,
) -> None:
    """The same holds if the exchange is gone, too. Messages to other queues are not delayed by it."""
    bench.send(*(b"%d" % number for number in range(50)), key="q", seconds=0.4)
    bench.channel.queue_delete("q")
    bench.channel.exchange_delete("machinery_exchange")
    bench.send(b"mine", key="other", seconds=0.8)
    eventually(lambda: bench.count("other") == 1)
    tap = bench.tap("q")
    assert sorted(tap.bodies(50), key=int) == [b"%d" % number for number in range(50)]
    tap.quiet()


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_is_full_when_a_delay_ends_gets_the_message_when_it_has_room(bench: Bench) -> None:
    full = {"queue_declare_args": {"x-max-length": 1, "x-overflow": "reject-publish"}}
    bench.send(b"x", seconds=0.2, **full)
    bench.channel.basic_publish(amqp.Message(b"first"), "", QUEUE)
    bench.send(b"mine", key="other", seconds=0.5)
    eventually(lambda: bench.count("other") == 1)
    assert bench.count(QUEUE) == 1
    tap = bench.tap(QUEUE, **full)
    assert tap.settle(*tap.take(1)) == ["done"]
    assert tap.bodies(1) == [b"x"]


def test_delay_queues_that_were_deleted_are_declared_again(bench: Bench) -> None:
    tap = bench.tap(QUEUE)
    tap.publish("machinery_task", b"1", eta_ns=time.time_ns() + 10**7)
    assert tap.bodies(1) == [b"1"]
    for ms in RUNGS_MS:
        bench.channel.queue_delete(amqp_rung(ms))
        bench.channel.exchange_delete(amqp_rung(ms))
    bench.channel.queue_delete(DUE)
    due = time.time_ns() + 10**8
    tap.publish("machinery_task", b"2", eta_ns=due)
    assert tap.bodies(1) == [b"2"]
    assert time.time_ns() >= due


# -- a RabbitMQ without such queues


def test_classic_queues_delay_and_park_messages_where_quorum_queues_are_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(topology.REPUBLISHES_WITH_CONFIRMS, "x-queue-type", "unknown")
    tap = bench.tap(QUEUE)
    due = time.time_ns() + 100 * 10**6
    tap.publish("machinery_task", signature("machinery_task"), eta_ns=due)
    (message,) = tap.take(1)
    assert time.time_ns() >= due
    due += 200 * 10**6
    assert tap.settle(message, how="later", at_ns=due) == ["done"]
    tap.take(1)
    assert time.time_ns() >= due
    assert caplog.text.count("killed as a delay ends, it may lose the message") == 1
    monkeypatch.undo()
    later = bench.tap()
    later.publish("machinery_task", b"x", eta_ns=time.time_ns() + 10**7)
    assert tap.bodies(1) == [b"x"], "those that are there are used as they are"


# -- a RabbitMQ that is killed


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kill_after", [0.1, 0.4])
def test_rabbitmq_is_killed_while_messages_are_coming_due(
    make_rabbitmq: Callable[..., RabbitServer], kill_after: float
) -> None:
    """300 fall due in half a second and pass several queues. Their sender has ended, so it cannot send one again."""
    server = make_rabbitmq()
    bodies = [b"%d" % number for number in range(300)]
    with Bench(server.url) as bench:
        tap = bench.tap()
        first = time.time_ns() + 8 * 10**9
        publishes = [
            Publish("machinery_task", body, first + number * 2 * 10**6) for number, body in enumerate(bodies)
        ]
        assert tap.channel.commit([Commit(publishes=tuple(publishes))]) == ["done"]
        assert time.time_ns() < first, "no delay has ended yet"
        until = first / 1e9 + kill_after
        eventually(lambda: time.time() >= until)
        server.kill()
    server.start()
    found: Counter[bytes] = Counter()
    with Bench(server.url) as bench:
        tap = bench.tap(QUEUE)
        while len(found) < 300:
            (message,) = tap.take(1, timeout=240)  # RabbitMQ may confirm to itself after 3 minutes only
            found[message.body] += 1
            assert message.delivery.republished, "each may be there twice"
    assert set(found) == set(bodies)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("twice", [False, True])
def test_rabbitmq_dies_after_all_senders_of_a_delayed_message(
    make_rabbitmq: Callable[..., RabbitServer], redis_url: str, twice: bool
) -> None:
    """A worker that has ended, and a producer. ``twice``: the delay ends as RabbitMQ starts, which is killed then.

    RabbitMQ may have a message where it waited as well as where it went: it forgets the first one last.
    """
    server = make_rabbitmq()
    app = App(broker=server.url, backend=redis_url)
    tries: Counter[int] = Counter()

    @app.task(retry=Retry(max=1, jitter=False, first=2.0))
    def fails_once(number: int) -> int:
        tries[number] += 1
        if tries[number] == 1:
            raise ConnectionError("the first try")
        return number

    with Worker(app, concurrency=4):
        results = app.publish_many(fails_once.s(number) for number in range(50))
        eventually(lambda: len(tries) == 50)
    tries[50] = 1
    results.append(fails_once.apply_async((50,), countdown=1.0))
    if twice:
        server.restart()
    with Bench(server.url) as bench:
        # As above: 3 minutes, where it was killed before it could confirm to itself; and one may be there twice.
        eventually(lambda: bench.count(QUEUE) >= 51, 240)
        server.kill()
    server.start()
    with Worker(app, concurrency=4):
        assert [result.get(timeout=240) for result in results] == list(range(51))
    app.close()
    assert {number: count for number, count in tries.items() if not 2 <= count <= 3} == {}
