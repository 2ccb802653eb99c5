"""The transport contract on a real RabbitMQ, and Machinery's layout there, recording by recording."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import kombu
import pytest
from tests.support.servers import RabbitServer

from gearmesh import App
from gearmesh.config import AMQPConfig, Config
from gearmesh.errors import ConfigError, PublishError
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect, OpenTap, Tap, TransportFixtures, signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.amqp import heartbeat
from gearmesh.transports.amqp.commit_engine import MIN_PARK_S, SHORT_PARK_ROUNDS
from gearmesh.transports.amqp.topology import RUNGS_MS, round_up
from gearmesh.transports.registry import connect as connect_app
from gearmesh.transports.registry import open_connection
from gearmesh.urls import AMQPTarget, parse
from gearmesh.web.broker_reader import BrokerReader
from gearmesh.wire.codec import decode
from gearmesh.wire.names import amqp_dead, amqp_due

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "amqp.json").read_text())
HOUR = 3_600_000


def _connect_to(url: str, **more: Any) -> Connect:
    def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
        return open_connection(url, consumer=consumer, options=more | options)

    return connect


class TestAMQPTransport(TransportContract):
    short_parks = SHORT_PARK_ROUNDS

    @pytest.fixture
    def connect(self, amqp_url: str) -> Connect:
        return _connect_to(amqp_url)

    def test_a_parked_message_returns_even_if_a_look_meets_its_end(self, tap: OpenTap, queue: str) -> None:
        """RabbitMQ keeps a message if ``basic.get`` finds that it has just expired."""
        looker = tap()
        looker.publish(queue, signature(queue))
        taker = tap(queue, prefetch=1)
        taker.settle(*taker.take(1), how="park")
        name = looker.channel.link.topology.parked(queue, MIN_PARK_S).name
        for _ in range(SHORT_PARK_ROUNDS):
            taker.settle(*taker.take(1), how="park")
            deadline = time.monotonic() + 30
            while not taker.got:
                assert time.monotonic() < deadline, "it stays in the queue in which it waited"
                with looker.channel.browse(name, 10):
                    pass
                taker.drain(0.0)

    def test_a_look_leaves_the_order_of_a_quorum_queue(self, tap: OpenTap, queue: str) -> None:
        """RabbitMQ may requeue messages in any order, or at the tail, so parked ones would come late."""
        channel = tap().channel
        channel.queue_declare(queue, arguments={"x-queue-type": "quorum"})
        bodies = [signature(queue, n) for n in range(100)]
        for body in bodies:
            channel.basic_publish(amqp.Message(body), "", queue)
        for limit in (5, 50, 50, 100, 100):
            eventually(lambda: channel.count(queue).pending == len(bodies))
            assert channel.pending(queue, limit) == bodies[:limit]

    def test_a_look_deletes_no_auto_delete_queue(self, tap: OpenTap, queue: str) -> None:
        """RabbitMQ deletes such a queue when its last consumer ends: a look must not be one."""
        channel = tap().channel
        channel.queue_declare(queue, auto_delete=True)
        for n in range(200):  # some of these looks find that all messages have just expired
            channel.basic_publish(amqp.Message("x", expiration=str(1 + n % 4)), "", queue)
            channel.pending(queue)
            channel.queue_declare(queue, passive=True)


def test_the_dashboard_asks_seldom_for_missing_queues(rabbitmq_server: RabbitServer, amqp_url: str) -> None:
    """RabbitMQ logs an error for each such question, and an open page asks every two seconds."""
    with App(amqp_url, "null") as app:
        reader = BrokerReader(app)
        queues = ("never-dead", "asked-last")
        for queue in (queues[0], queues[0], queues[0], queues[1]):
            assert (
                reader.change(lambda channel, queue=queue: channel.count(queue)).dead == 0
            )  # change: no cache
        reader.close()
    errors = [
        f"no queue '{amqp_dead(queue)}' in vhost '{urlsplit(amqp_url).path[1:]}'".encode() for queue in queues
    ]
    log = eventually(lambda: errors[1] in (log := rabbitmq_server.log()) and log)
    assert log.count(errors[0]) == 1


class TestSilence(TransportFixtures):
    """The heartbeat thread takes the messages of a silent consumer back, and leaves those of a live one."""

    @pytest.fixture
    def connect(self, amqp_url: str) -> Connect:
        return _connect_to(amqp_url)

    @pytest.fixture(autouse=True)
    def _looks_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(heartbeat, "_MAX_CHECK_INTERVAL_S", 0.1)

    def test_a_consumer_that_waits_for_messages_is_not_silent(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, signature(queue, 1))
        holder = tap(queue, prefetch=2, lease=0.5)
        (message,) = holder.take(1)
        holder.quiet(2.0)  # one wait, in which no message comes
        assert holder.settle(message) == ["done"]

    def test_a_consumer_whose_deliveries_went_back_while_it_waits_consumes_again(
        self, tap: OpenTap, queue: str
    ) -> None:
        tap().publish(queue, signature(queue, 1))
        holder = tap(queue, prefetch=2)
        holder.take(1)
        threading.Timer(0.2, holder.channel.return_unacked).start()
        assert holder.bodies(1) == [signature(queue, 1)], "the message comes back within one wait"


class TestQueuesOfManyKinds(TransportFixtures):
    """Some of the contract again, where the settings want other queues and exchanges."""

    test_priority = TransportContract.test_priority
    test_dead_letter = TransportContract.test_dead_letter
    test_tail = TransportContract.test_tail
    test_head_restores_the_order = TransportContract.test_head_restores_the_order
    test_not_before_its_time = TransportContract.test_not_before_its_time
    test_a_parked_message_becomes_a_dead_letter = (
        TransportContract.test_a_parked_message_becomes_a_dead_letter
    )

    @pytest.fixture
    def connect(self, amqp_url: str) -> Connect:
        config = AMQPConfig(
            exchange="other",
            queue_declare_args={"x-max-priority": 10},
            queue_binding_args={"x": "y"},
            delay_steps=3,
        )
        connection = _connect_to(amqp_url, amqp=config)

        def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
            return connection(consumer, **options)

        return connect

    @pytest.fixture
    def tap(self, connect: Connect) -> Iterator[OpenTap]:
        """kombu would declare the queues without their arguments: here the transport does."""
        taps: list[Tap] = []

        class Undeclared(Tap):
            def __init__(self, connection: kombu.Connection, queues: tuple[str, ...], prefetch: int) -> None:
                super().__init__(connection, (), prefetch)
                self._consumer = kombu.Consumer(
                    self.channel,
                    [kombu.Queue(queue, no_declare=True) for queue in queues],
                    on_message=self.got.append,
                    prefetch_count=prefetch,
                    auto_declare=False,
                )
                if queues:
                    self.start()

        def open_tap(*queues: str, prefetch: int = 0, consumer: str | None = None, **options: Any) -> Tap:
            taps.append(Undeclared(connect(consumer, **options), queues, prefetch))
            return taps[-1]

        yield open_tap
        for each in taps:
            each.close()


class Broker:
    """A vhost, as RabbitMQ itself describes it."""

    def __init__(self, server: RabbitServer, url: str) -> None:
        target = parse(url, "broker")
        assert isinstance(target, AMQPTarget)
        self.server, self.url, self.vhost = server, url, target.virtual_host

    def queues(self) -> dict[str, dict[str, Any]]:
        rows = self._list("queues", "name", "durable", "auto_delete", "exclusive", "arguments")
        return {row.pop("name"): row for row in rows}

    def bindings(self) -> set[tuple[str, str, str]]:
        """(exchange, routing key, queue), without those of the default exchange."""
        rows = self._list("bindings", "source_name", "routing_key", "destination_name")
        return {tuple(row.values()) for row in rows if row["source_name"]}  # type: ignore[misc]

    def exchanges(self) -> list[dict[str, Any]]:
        return self._list("exchanges", "name", "type", "durable", "auto_delete", "arguments")

    def messages(self, queue: str) -> list[Any]:
        """All messages of a queue, taken by py-amqp alone."""
        target = parse(self.url, "broker")
        assert isinstance(target, AMQPTarget)
        found = []
        with amqp.Connection(f"{target.host}:{target.port}", virtual_host=self.vhost) as connection:
            channel = connection.channel()
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.append(message)
        return found

    def raw(self, work: Callable[[Any], Any]) -> Any:
        """Do something on a bare channel of py-amqp."""
        target = parse(self.url, "broker")
        assert isinstance(target, AMQPTarget)
        with amqp.Connection(f"{target.host}:{target.port}", virtual_host=self.vhost) as connection:
            return work(connection.channel())

    def _list(self, what: str, *columns: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(
            self.server.ctl(f"list_{what}", "-p", self.vhost, "--formatter", "json", *columns)
        )
        return [{column: row[column] for column in columns} for row in listed]


@pytest.fixture
def broker(rabbitmq_server: RabbitServer, amqp_url: str) -> Broker:
    return Broker(rabbitmq_server, amqp_url)


def _described(queue: dict[str, Any]) -> dict[str, Any]:
    """Return the declared properties of a recorded queue, in a form that can be compared."""
    return {
        "durable": queue["durable"],
        "auto_delete": queue["auto_delete"],
        "exclusive": queue["exclusive"],
        "arguments": sorted(queue["arguments"]),
    }


def _publish(url: str, *publishes: Publish, **amqp_settings: Any) -> None:
    config = Config(broker=url, amqp=AMQPConfig(**amqp_settings))
    with connect_app(config) as connection:
        connection.channel().commit([Commit(publishes=publishes)])


def test_a_published_signature_is_the_recorded_one(broker: Broker) -> None:
    (recorded,) = GOLDEN["message_plain_in_machinery_task"]
    _publish(broker.url, Publish(recorded["routing_key"], recorded["body"].encode(), 0, 7))
    # Go's producer makes a queue named like the routing key, which no worker reads. gearmesh makes the one that
    # workers read.
    queues = {name: _described(queue) for name, queue in broker.queues().items()}
    assert queues == {"machinery_tasks": _described(GOLDEN["queues_with_worker"]["machinery_tasks"])}
    assert broker.bindings() == {("machinery_exchange", "machinery_task", "machinery_tasks")}
    exchanges = {exchange["name"]: exchange for exchange in broker.exchanges()}
    assert exchanges == {exchange["name"]: exchange for exchange in GOLDEN["exchanges"]}
    (message,) = broker.messages("machinery_tasks")
    assert message.properties == recorded["properties"]
    assert message.delivery_info["exchange"] == recorded["exchange"]
    assert message.delivery_info["routing_key"] == recorded["routing_key"]
    assert message.body.decode() == recorded["body"]


def test_a_delayed_signature_comes_as_go_sends_it(broker: Broker) -> None:
    """The delay queue is gearmesh's own, and its dead-lettered message equals the one from Go's delay queue."""
    ((_, (recorded,)),) = GOLDEN["delayed_message"].items()
    _publish(broker.url, Publish("machinery_task", recorded["body"].encode(), time.time_ns() + 100_000_000))
    (message,) = eventually(lambda: broker.messages("machinery_tasks"))
    headers = message.properties.pop("application_headers")
    assert {name for name in headers if not name.startswith("x-")} == set(), "RabbitMQ has taken CC away"
    assert message.properties == {
        k: v for k, v in recorded["properties"].items() if k != "application_headers"
    }
    assert message.delivery_info["exchange"] == "machinery_exchange"
    assert message.delivery_info["routing_key"] == "machinery_task"
    assert message.body.decode() == recorded["body"]


def test_one_queue_for_all_that_is_delayed(broker: Broker) -> None:
    (recorded,) = GOLDEN["delayed_message_option"]
    body = recorded["body"].encode()
    eta_ns = time.time_ns() + HOUR * 1_000_000
    _publish(broker.url, Publish("machinery_task", body, eta_ns), delayed_queue="my_delayed")
    model = GOLDEN["queues_with_delayed_queue_option"]["my_delayed"]
    assert _described(broker.queues()["my_delayed"]) == _described(model)
    assert ("machinery_exchange", "my_delayed", "my_delayed") in broker.bindings()
    config = Config(broker=broker.url, amqp=AMQPConfig(delayed_queue="my_delayed"))
    with connect_app(config) as connection:
        (listed,) = connection.channel().delayed()
    assert listed.body == body
    assert listed.eta_ns // 10**9 == 1795267110  # the ETA that stands in it
    (message,) = broker.messages("my_delayed")
    expiration = message.properties.pop("expiration")
    assert HOUR - 20_000 < int(expiration) <= HOUR
    assert message.properties == {k: v for k, v in recorded["properties"].items() if k != "expiration"}


def test_one_delayed_queue_serves_one_routing_key(broker: Broker) -> None:
    eta_ns = time.time_ns() + HOUR * 1_000_000
    _publish(broker.url, Publish("machinery_task", b"{}", eta_ns), delayed_queue="my_delayed")
    with pytest.raises(ConfigError, match=r"queue 'my_delayed' can't be declared.*x-dead-letter-routing-key"):
        _publish(broker.url, Publish("other", b"{}", eta_ns), delayed_queue="my_delayed")


def test_all_delays_share_a_few_queues(broker: Broker) -> None:
    now = time.time_ns()
    _publish(broker.url, *(Publish("q", signature("q", n), now + n * 10**9) for n in range(100, 200)))
    before = broker.queues()
    _publish(broker.url, *(Publish("q", signature("q", n), now + n * 10**9) for n in range(200, 300)))
    assert broker.queues() == before
    names = {name for name in before if name.startswith("gearmesh:")}
    assert names == {f"gearmesh:delay:{ms}" for ms in RUNGS_MS} | {amqp_due("machinery_exchange", "q")}


def test_rounding_up() -> None:
    for steps in (1, 3, 10):
        rounded = {round_up(ms, steps) for ms in range(1, 100_001)}
        assert len(rounded) <= 5 * steps + 1
        assert all(ms <= round_up(ms, steps) <= ms * 10 ** (1 / steps) + 1 for ms in range(1, 10_000, 7))
        assert {round_up(ms, steps) for ms in rounded} == rounded


def test_headers_are_the_signatures_own(broker: Broker) -> None:
    headers = '{"list":["a",true],"n":1,"no":{"a":1},"text":"x","yes":true}'
    body = b'{"UUID":"u","Name":"add","RoutingKey":"q","Headers":%s}' % headers.encode()
    assert decode(body).Headers
    _publish(broker.url, Publish("q", body))
    (message,) = broker.messages("q")
    # Go: can't send a number or an object on.
    assert message.properties["application_headers"] == {"list": ["a", True], "text": "x", "yes": True}
    assert message.body == body


def test_a_message_reaches_only_the_readers_of_its_queue(broker: Broker) -> None:
    """A custom queue is bound by its own name only: messages to the default queue are not copied to it."""
    config = Config(broker=broker.url)
    with connect_app(config) as connection:
        tap = Tap(connection, (), 0)
        for queue in ("custom", "machinery_tasks"):
            kombu.Consumer(
                tap.channel,
                [kombu.Queue(queue, no_declare=True)],
                on_message=tap.got.append,
                auto_declare=False,
            ).consume()
        for key in ("machinery_task", "machinery_tasks", "custom"):
            tap.publish(key, key.encode())
        found = {(message.delivery.queue, message.body) for message in tap.take(3)}
        tap.quiet()
        assert found == {
            ("machinery_tasks", b"machinery_task"),
            ("machinery_tasks", b"machinery_tasks"),
            ("custom", b"custom"),
        }
        looker = connection.channel()
        assert looker.pending("nobody's") == []
        assert looker.dead_letters("custom") == []
    assert broker.bindings() == {
        ("machinery_exchange", "machinery_task", "machinery_tasks"),
        ("machinery_exchange", "machinery_tasks", "machinery_tasks"),
        ("machinery_exchange", "custom", "custom"),
    }
    assert set(broker.queues()) == {"custom", "machinery_tasks"}


@pytest.mark.parametrize(
    ("kind", "binding", "key"), [("topic", "orders.*", "orders.new"), ("fanout", "", "whatever")]
)
def test_other_kinds_of_exchange(broker: Broker, kind: str, binding: str, key: str) -> None:
    settings = {"exchange": "own", "exchange_type": kind, "binding_key": binding or "x"}
    _publish(broker.url, Publish(key, b"{}"), **settings)
    assert set(broker.queues()) == {"machinery_tasks"}, (
        "Go: the default queue gets the messages that match its binding"
    )
    (message,) = broker.messages("machinery_tasks")
    assert message.delivery_info["routing_key"] == key


def test_the_error_names_the_routing_key_that_no_queue_takes(broker: Broker) -> None:
    settings = {"exchange": "own", "exchange_type": "topic", "binding_key": "orders.*"}
    with pytest.raises(PublishError, match=r"no queue takes 'payments\.new'"):
        _publish(broker.url, Publish("orders.new", b"{}"), Publish("payments.new", b"{}"), **settings)


def test_a_queue_with_other_arguments_is_an_error_that_names_it(broker: Broker) -> None:
    broker.raw(lambda channel: channel.queue_declare("q", durable=False, auto_delete=False))
    with pytest.raises(ConfigError, match=r"queue 'q' can't be declared.*inequivalent arg 'durable'"):
        _publish(broker.url, Publish("q", b"{}"))
    with pytest.raises(ConfigError, match="queue name is 'é"):
        _publish(broker.url, Publish("é" * 128, b"{}"))


def test_a_deleted_queue_is_declared_again_by_the_producer(broker: Broker) -> None:
    with connect_app(Config(broker=broker.url)) as connection:
        tap = Tap(connection, (), 0)
        tap.publish("q", b"1")
        broker.raw(lambda channel: channel.queue_delete("q"))
        tap.publish("q", b"2")
        assert tap.verbs.pending("q") == [b"2"]
        broker.raw(lambda channel: channel.exchange_delete("machinery_exchange"))
        # RabbitMQ closes the channel, and the sender cannot know whether the exchange took the message first.
        tap.publish("q", b"3")
        eventually(lambda: tap.verbs.pending("q") == [b"2", b"3"])


def test_a_queue_that_is_full(broker: Broker) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    config = Config(broker=broker.url, amqp=AMQPConfig(queue_declare_args=arguments), publish_timeout=0.5)
    with connect_app(config) as connection:
        tap = Tap(connection, (), 0)
        tap.publish("q", b"1")
        with pytest.raises(PublishError, match="RabbitMQ refuses messages for 'q'"):
            tap.publish("q", b"2")
        assert tap.verbs.pending("q") == [b"1"]


def test_a_quorum_queue(broker: Broker) -> None:
    config = Config(broker=broker.url, amqp=AMQPConfig(queue_declare_args={"x-queue-type": "quorum"}))
    app = App(config=config)
    app.remote("add", "int64", "int64").delay(1, 2)
    with connect_app(config) as connection:
        tap = Tap(connection, (), 0)
        consumer = kombu.Consumer(
            tap.channel,
            [kombu.Queue("machinery_tasks", no_declare=True)],
            on_message=tap.got.append,
            auto_declare=False,
            prefetch_count=2,
        )
        consumer.consume()
        (message,) = tap.take(1)
        assert decode(message.body).RoutingKey == "machinery_task"
        assert tap.settle(message, how="head") == ["done"]
        (message,) = tap.take(1)
        assert tap.settle(message, how="dead", reason="why") == ["done"]
        (letter,) = tap.verbs.dead_letters("machinery_tasks")
        assert letter.reason == "why"
        assert amqp_dead("machinery_tasks") in broker.queues()
    app.close()


def test_the_turns_of_a_possible_second_copy(broker: Broker) -> None:
    """At the tail it comes with the next number, else with the same; taken from the dead it is a message as any."""
    with (
        connect_app(Config(broker=broker.url)) as connection,
        connect_app(Config(broker=broker.url)) as other,
    ):
        Tap(connection, (), 0).channel.commit([Commit(publishes=(Publish("q", b"x"),))], again=True)
        tap = Tap(other, ("q",), 1)
        seen = []
        for how in ("head", "tail", "later", "tail", "dead"):
            (message,) = tap.take(1)
            seen.append((message.delivery.duplicate_attempt, message.delivery.redelivered))
            assert tap.settle(message, how=how, at_ns=time.time_ns() + 1_000_000) == ["done"]
        assert seen == [(1, 1), (1, 2), (2, 1), (2, 1), (3, 1)]
        (letter,) = tap.verbs.dead_letters("q")
        assert tap.verbs.take_dead("q", [letter.id], retry=True) == 1
        (message,) = tap.take(1)
        assert (message.delivery.duplicate_attempt, message.delivery.redelivered) == (0, 0)


def test_a_silent_producer_keeps_its_connection(broker: Broker) -> None:
    with connect_app(Config(broker=broker.url, amqp=AMQPConfig(heartbeat=1))) as connection:
        channel = connection.channel()
        until = time.monotonic() + 4  # RabbitMQ gives up after 3
        eventually(lambda: time.monotonic() > until)
        assert channel.commit([Commit(publishes=(Publish("q", b"x"),))]) == ["done"]


def test_names_of_consumers_are_shown_to_operators(broker: Broker) -> None:
    with open_connection(broker.url, consumer="worker 7") as connection:
        connection.channel()
        assert "worker 7" in eventually(lambda: broker.server.ctl("list_connections", "client_properties"))
