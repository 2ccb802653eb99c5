"""kombu programs work with the Redis transport: its event loop, broadcast, control, replies, simple queues.

The Celery bridge stands on all of it.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from uuid import uuid4

import kombu
import pytest
import redis
from kombu.asynchronous import Hub
from kombu.pidbox import Mailbox
from tests.support.servers import RedisServer

from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.testing.contracts.support import signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.redis.channel import Channel
from gearmesh.transports.registry import open_connection
from gearmesh.wire.gotime import format_ns

ACCEPT = ["json", SIGNATURE_CONTENT_TYPE]


class Looped:
    """A connection in a kombu event loop, as in a Celery worker, which never calls ``drain_events``."""

    def __init__(self, url: str, **options: Any) -> None:
        self.hub = Hub()
        self.url = url
        self.options = options
        self.got: list[Any] = []
        self.ticks = 0
        self.hub.on_tick.add(self._tick)
        self.connection: Any = None
        self.channel: Any = None
        self.consumer: Any = None

    def _tick(self) -> None:
        self.ticks += 1

    def join(self, *queues: Any, prefetch: int = 0, ack: bool = True, **more: Any) -> Looped:
        """Connect, consume, and join the loop."""
        self.connection = open_connection(self.url, options=self.options)
        self.channel = self.connection.channel()

        def on_message(message: Any) -> None:
            self.got.append(message)
            if ack and not more.get("no_ack"):
                message.ack()

        self.consumer = kombu.Consumer(
            self.channel,
            [queue if isinstance(queue, kombu.Queue) else kombu.Queue(queue) for queue in queues],
            on_message=on_message,
            accept=ACCEPT,
            prefetch_count=prefetch,
            **more,
        )
        self.consumer.consume()
        self.connection.transport.register_with_event_loop(self.connection.connection, self.hub)
        return self

    def run(self, until: Callable[[], Any], timeout: float = 60.0) -> None:
        """Turn the loop until something is so."""
        deadline = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < deadline, f"did not happen within {timeout:g} s; got {len(self.got)}"
            self.hub.run_once()

    def turn(self, seconds: float) -> None:
        """Turn the loop for a while."""
        over = time.monotonic() + seconds
        alarm = self.hub.call_later(seconds, lambda: None)
        while time.monotonic() < over:
            self.hub.run_once()
        alarm.cancel()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.hub.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def queue() -> str:
    return f"kombu_{uuid4().hex}"


@pytest.fixture
def looped(redis_url: str) -> Iterator[Callable[..., Looped]]:
    with ExitStack() as stack:

        def make(url: str = redis_url, **options: Any) -> Looped:
            here = Looped(url, **options)
            stack.callback(here.close)
            return here

        yield make


@pytest.fixture
def connect(redis_url: str) -> Iterator[Callable[..., kombu.Connection]]:
    with ExitStack() as stack:

        def make(url: str = redis_url, **options: Any) -> kombu.Connection:
            return stack.enter_context(open_connection(url, options=options))

        yield make


@pytest.fixture
def stock(redis_url: str) -> Iterator[Callable[[], kombu.Connection]]:
    """Connections of kombu's own Redis transport."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(kombu.Connection(redis_url))


def ours(client: redis.Redis) -> list[bytes]:
    """The side keys there are."""
    return sorted(client.keys("gearmesh:*"))


class TestLoop:
    """kombu's event loop, bare."""

    def test_a_signature_and_an_ordinary_message(
        self, looped: Callable[..., Looped], client: redis.Redis, queue: str
    ) -> None:
        here = looped().join(queue)
        client.rpush(queue, signature(queue))
        here.run(lambda: here.got)
        kombu.Producer(here.channel).publish({"x": [1, "é"]}, routing_key=queue, headers={"h": 1})
        here.run(lambda: len(here.got) == 2)
        assert here.got[0].body == signature(queue)
        assert here.got[0].delivery.queue == queue
        assert here.got[1].payload == {"x": [1, "é"]}
        assert here.got[1].headers["h"] == 1
        here.close()
        assert client.exists(queue) == 0
        assert ours(client) == []

    def test_many_at_once_do_not_wait_for_the_clock(
        self, looped: Callable[..., Looped], client: redis.Redis, queue: str
    ) -> None:
        client.rpush(queue, *(signature(queue, n) for n in range(10_000)))
        here = looped().join(queue, ack=False)
        began = time.monotonic()
        here.run(lambda: len(here.got) == 10_000)
        assert time.monotonic() - began < 10  # by the timers alone: 20 s
        assert [message.body for message in here.got] == [signature(queue, n) for n in range(10_000)]

    def test_one_after_another_come_at_once(
        self, looped: Callable[..., Looped], client: redis.Redis, queue: str
    ) -> None:
        here = looped().join(queue, prefetch=4)
        here.turn(0.1)
        began = time.monotonic()
        for n in range(20):
            client.rpush(queue, signature(queue, n))
            here.run(lambda n=n: len(here.got) == n + 1)  # type: ignore[misc]
        assert time.monotonic() - began < 10  # by the timers alone: 20 s

    def test_credit_holds(self, looped: Callable[..., Looped], client: redis.Redis, queue: str) -> None:
        client.rpush(queue, *(signature(queue, n) for n in range(5)))
        here = looped().join(queue, prefetch=2, ack=False)
        here.turn(0.3)
        assert len(here.got) == 2
        here.consumer.qos(prefetch_count=3)
        here.run(lambda: len(here.got) == 3)
        here.turn(0.2)
        assert len(here.got) == 3
        here.got[0].ack()
        here.got[1].requeue()
        here.run(lambda: len(here.got) == 5)
        assert here.got[3].body == here.got[1].body
        here.close()
        assert client.llen(queue) == 4, "the unacked messages are back in the queue"

    def test_a_delayed_message_comes_in_time(
        self, looped: Callable[..., Looped], client: redis.Redis, queue: str
    ) -> None:
        here = looped(delayed_poll=0.05).join(queue)
        eta = time.time_ns() + 300_000_000
        body = b'{"UUID":"task_x","Name":"add","RoutingKey":"%b","ETA":"%b"}' % (
            queue.encode(),
            format_ns(eta).encode(),
        )
        here.channel.commit([Commit(publishes=(Publish(queue, body, eta),))])
        here.run(lambda: here.got)
        assert -1_000 <= time.time_ns() - eta < 20_000_000_000, "a double's microsecond early at most"

    def test_an_idle_loop_sleeps(self, looped: Callable[..., Looped], queue: str) -> None:
        here = looped().join(queue, f"{queue}_2")
        here.turn(0.5)
        ticks, cpu = here.ticks, _cpu()
        here.turn(3.0)
        assert here.ticks - ticks < 3 * 15, "its timers, and no more"
        assert _cpu() - cpu < 0.3

    def test_a_loop_without_credit_sleeps(
        self, looped: Callable[..., Looped], client: redis.Redis, queue: str
    ) -> None:
        client.rpush(queue, *(signature(queue, n) for n in range(5)))
        here = looped().join(queue, prefetch=1, ack=False)
        here.turn(0.5)
        ticks = here.ticks
        here.turn(2.0)
        assert here.ticks - ticks < 2 * 15

    def test_joining_again_leaves_no_timers_behind(self, looped: Callable[..., Looped], queue: str) -> None:
        here = looped().join(queue)

        def burden() -> tuple[int, int]:
            here.turn(0.05)
            timers = {id(entry.entry) for entry in here.hub.timer._queue if not entry.entry.canceled}
            return len(here.hub.on_tick), len(timers)

        before = burden()
        for _ in range(3):
            transport = here.connection.transport
            transport.register_with_event_loop(here.connection.connection, here.hub)
        assert burden() == before
        for _ in range(3):
            here.connection.close()
            here.join(queue)
        assert burden() == before
        here.connection.close()
        assert burden() == (1, 0), "the test's own tick"

    def test_queues_come_and_go(self, looped: Callable[..., Looped], client: redis.Redis, queue: str) -> None:
        first, second = queue, f"{queue}_2"
        here = looped().join(first)
        here.turn(0.1)
        here.consumer.add_queue(kombu.Queue(second))
        here.consumer.consume()
        here.turn(0.1)
        client.rpush(second, b"1")
        here.run(lambda: len(here.got) == 1)
        here.consumer.cancel_by_queue(first)
        client.rpush(first, b"2")
        client.rpush(second, b"3")
        here.run(lambda: len(here.got) == 2)
        here.turn(0.2)
        assert [message.body for message in here.got] == [b"1", b"3"]
        assert client.lrange(first, 0, -1) == [b"2"]
        assert [key for key in ours(client) if b"{%b}" % first.encode() in key] == []
        here.consumer.add_queue(kombu.Queue(first))
        here.consumer.consume()
        here.run(lambda: len(here.got) == 3)

    def test_a_canceled_consumer_keeps_the_messages_that_it_got(
        self,
        looped: Callable[..., Looped],
        connect: Callable[..., kombu.Connection],
        client: redis.Redis,
        queue: str,
    ) -> None:
        """Celery cancels its consumers first and lets running tasks end."""
        client.rpush(queue, b"x")
        here = looped(lease=0.6).join(queue, ack=False)
        here.run(lambda: here.got)
        here.consumer.cancel()
        other = connect(lease=0.6)
        seen: list[Any] = []
        with kombu.Consumer(other.channel(), [kombu.Queue(queue)], on_message=seen.append):
            over = time.monotonic() + 2
            while time.monotonic() < over:
                here.turn(0.05)
                with suppress(TimeoutError):
                    other.drain_events(timeout=0.05)
        assert seen == []
        here.got[0].ack()
        here.close()
        assert client.exists(queue) == 0

    def test_after_the_server_came_back(
        self, looped: Callable[..., Looped], make_redis: Callable[..., RedisServer], queue: str
    ) -> None:
        server = make_redis(aof="always")
        here = looped(server.url).join(queue)
        errors = here.connection.connection_errors
        with redis.Redis(port=server.port) as client:
            client.rpush(queue, b"1")
        here.run(lambda: len(here.got) == 1)
        server.kill()
        with pytest.raises(errors):
            here.turn(60.0)
        here.connection.close()  # as Celery does: close, and begin anew
        server.start()
        with redis.Redis(port=server.port) as client:
            client.rpush(queue, b"2")
        here.join(queue)
        here.run(lambda: len(here.got) == 2)
        ticks = here.ticks
        here.turn(1.0)
        assert here.ticks - ticks < 15
        assert [message.body for message in here.got] == [b"1", b"2"]

    def test_broadcast_in_the_loop(
        self, looped: Callable[..., Looped], connect: Callable[..., kombu.Connection], queue: str
    ) -> None:
        exchange = kombu.Exchange(f"{queue}_all", "fanout")
        here = looped().join(queue, kombu.Queue(f"{queue}_own", exchange, auto_delete=True), no_ack=True)
        here.turn(0.2)
        kombu.Producer(connect().channel(), exchange).publish({"x": 1}, routing_key="")
        here.run(lambda: here.got)
        assert here.got[0].payload == {"x": 1}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class TestBroadcast:
    """Fanout is plain pub/sub: kombu's stock transport and ours hear each other."""

    @pytest.mark.parametrize("ours_publishes", [True, False])
    def test_beside_the_stock_transport(
        self,
        connect: Callable[..., kombu.Connection],
        stock: Callable[[], kombu.Connection],
        queue: str,
        ours_publishes: bool,
    ) -> None:
        exchange = kombu.Exchange(f"{queue}_all", "fanout")
        publisher, listener = (connect(), stock()) if ours_publishes else (stock(), connect())
        seen: list[Any] = []
        own = kombu.Queue(f"{queue}_own", exchange, auto_delete=True)
        with kombu.Consumer(listener.channel(), [own], on_message=seen.append, no_ack=True):
            with suppress(TimeoutError):
                listener.drain_events(timeout=0.2)
            kombu.Producer(publisher.channel(), exchange).publish({"x": 1}, routing_key="")
            for _ in range(120):
                if not seen:
                    with suppress(TimeoutError):
                        listener.drain_events(timeout=0.5)
        assert [message.payload for message in seen] == [{"x": 1}]

    @pytest.mark.parametrize("protocol", [2, 3])
    def test_both_redis_protocols(
        self,
        connect: Callable[..., kombu.Connection],
        monkeypatch: pytest.MonkeyPatch,
        client: redis.Redis,
        queue: str,
        protocol: int,
    ) -> None:
        given = Channel._connparams

        def speaking(channel: Channel, asynchronous: bool = False) -> dict[str, Any]:
            return given(channel, asynchronous) | {"protocol": protocol}

        monkeypatch.setattr(Channel, "_connparams", speaking)
        exchange = kombu.Exchange(f"{queue}_all", "fanout")
        seen: list[Any] = []
        connection = connect()
        channel: Any = connection.channel()
        queues = [kombu.Queue(queue), kombu.Queue(f"{queue}_own", exchange, auto_delete=True)]
        with kombu.Consumer(channel, queues, on_message=seen.append, accept=ACCEPT):
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.2)
            channel.commit([Commit(publishes=(Publish(queue, b"x"),))])
            kombu.Producer(channel, exchange).publish({}, routing_key="")
            channel.commit([Commit(publishes=(Publish(queue, b"later", time.time_ns() + 10**12),))])
            for _ in range(300):
                if len(seen) < 2:
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.2)
            assert len(seen) == 2
            assert [(d.body, d.eta_ns > 10**18) for d in channel.delayed()] == [(b"later", True)]
            channel.commit([Commit(publishes=(Publish(queue, b"x"),))])
            other = connect(lease=0.3).channel()
            other.fetcher.fetch(queue, 1)
            assert set(client.hgetall(channel.keys(queue).consumers)) == {
                channel.consumer.encode(),
                other.consumer.encode(),
            }


class Nodes:
    """Control nodes in threads of their own, each with its connection."""

    def __init__(
        self, namespace: str, connect: Callable[[], kombu.Connection], names: list[str], kind: str
    ) -> None:
        self._stop = threading.Event()
        self.cast: list[tuple[str, Any]] = []
        ready = [threading.Event() for _ in names]
        self._threads = [
            threading.Thread(target=self._serve, args=(namespace, connect, name, kind, event))
            for name, event in zip(names, ready, strict=True)
        ]
        for thread in self._threads:
            thread.start()
        for event in ready:
            assert event.wait(60)

    def _serve(
        self,
        namespace: str,
        connect: Callable[[], kombu.Connection],
        name: str,
        kind: str,
        ready: threading.Event,
    ) -> None:
        with connect() as connection:
            mailbox = Mailbox(namespace, type=kind, accept=["json"])(connection)
            node = mailbox.Node(name, channel=connection.channel())

            def add(state: Any, x: int, y: int) -> Any:
                self.cast.append((name, x + y))
                return {"sum": x + y, "by": name}

            node.handlers["add"] = add
            with node.listen():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.2)
                ready.set()
                while not self._stop.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.2)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.filterwarnings("ignore:A node named:UserWarning")
class TestControl:
    """kombu.pidbox: commands go out by broadcast or directly, replies come back through lists."""

    @pytest.fixture
    def served(self, redis_url: str, queue: str) -> Iterator[Nodes]:
        nodes = Nodes(queue, lambda: open_connection(redis_url), ["a", "b", "c"], "fanout")
        yield nodes
        nodes.stop()

    def test_calls_with_replies(
        self, served: Nodes, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        mailbox = Mailbox(queue, type="fanout", accept=["json"])(connection)
        began = time.monotonic()
        for n in range(3):
            replies = mailbox.multi_call("add", {"x": n, "y": 1}, timeout=60, limit=3)
            answers = {name: answer for reply in replies for name, answer in reply.items()}
            assert answers == {name: {"sum": n + 1, "by": name} for name in "abc"}
        assert time.monotonic() - began < 60, "the wait ends with the last reply"
        (reply,) = mailbox.call(["b"], "add", {"x": 1, "y": 1}, timeout=60)
        assert reply == {"b": {"sum": 2, "by": "b"}}
        (reply,) = mailbox.call(["c"], "nosuch", timeout=60)
        assert "error" in reply["c"]
        mailbox.cast(["a"], "add", {"x": 100, "y": 0})
        eventually(lambda: ("a", 100) in served.cast)
        served.stop()
        connection.release()
        assert ours(client) == [], "reply queues leave nothing behind"
        assert [key for key in client.keys("*reply*") if client.type(key) == b"list"] == []

    def test_direct_nodes(self, redis_url: str, client: redis.Redis, queue: str) -> None:
        nodes = Nodes(queue, lambda: open_connection(redis_url), ["a"], "direct")
        try:
            with open_connection(redis_url) as connection:
                mailbox = Mailbox(queue, type="direct", accept=["json"])(connection)
                (reply,) = mailbox.multi_call("add", {"x": 1, "y": 2}, timeout=60, limit=1)
                assert reply == {"a": {"sum": 3, "by": "a"}}
        finally:
            nodes.stop()
        assert ours(client) == []

    def test_a_reply_nobody_waits_for_expires(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        channel = connect().channel()
        kombu.Queue(queue, channel=channel, expires=10.0).declare()
        kombu.Producer(channel).publish({}, routing_key=queue)
        if not hasattr(channel, "_expires"):
            pytest.skip("this kombu knows no expiring queues")
        assert 0 < client.pttl(queue) <= 10_000


class TestChannel:
    """Verbs of kombu's channels that the contract does not ask of every transport."""

    def test_without_acknowledgement(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        channel: Any = connection.channel()
        client.rpush(queue, *(b"%d" % n for n in range(300)))
        assert channel.basic_get(queue, no_ack=True).body == b"0"
        assert not channel.unacked.open
        seen: list[Any] = []
        with kombu.Consumer(
            channel, [kombu.Queue(queue)], on_message=seen.append, no_ack=True, prefetch_count=2
        ):
            while len(seen) < 299:
                connection.drain_events(timeout=60)
        assert not channel.unacked.open
        assert ours(client) == []

    def test_acknowledged_again_after_a_consumer_that_did_not(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        channel = connection.channel()
        with kombu.Consumer(channel, [kombu.Queue(queue)], no_ack=True, on_message=print):
            pass
        client.rpush(queue, b"x")
        seen: list[Any] = []
        with kombu.Consumer(channel, [kombu.Queue(queue)], on_message=seen.append):
            connection.drain_events(timeout=60)
        connection.release()
        assert len(seen) == 1
        assert client.lrange(queue, 0, -1) == [b"x"], "the message was never acknowledged"

    def test_messages_fetched_for_a_canceled_consumer_go_back_in_order(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        client.rpush(queue, *(b"%d" % n for n in range(9)))
        connection = connect()
        channel = connection.channel()
        seen: list[bytes] = []

        def on_message(message: Any) -> None:
            seen.append(message.body)
            message.ack()
            if len(seen) == 3:
                consumer.cancel()

        consumer = kombu.Consumer(channel, [kombu.Queue(queue)], on_message=on_message)
        consumer.consume()
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.2)
        assert sorted(seen + client.lrange(queue, 0, -1)) == [b"%d" % n for n in range(9)]
        waiting = client.lrange(queue, 0, -1)
        assert waiting == sorted(waiting)

    def test_two_channels_one_connection(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        seen: dict[str, list[Any]] = {"a": [], "b": []}
        consumers = [
            kombu.Consumer(connection.channel(), [kombu.Queue(f"{queue}_{n}")], on_message=seen[n].append)
            for n in seen
        ]
        for consumer in consumers:
            consumer.consume()
        client.rpush(f"{queue}_a", b"a")
        client.rpush(f"{queue}_b", b"b")
        while not (seen["a"] and seen["b"]):
            connection.drain_events(timeout=60)
        consumers[0].cancel()
        seen["a"][0].ack()
        consumers[1].channel.close()
        assert client.lrange(f"{queue}_b", 0, -1) == [b"b"]
        assert client.exists(f"{queue}_a") == 0

    def test_purge_delete_and_size(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        channel = connect().channel()
        bound = kombu.Queue(queue, kombu.Exchange(f"{queue}_x", "direct"), routing_key="k", channel=channel)
        bound.declare()
        for _ in range(3):
            kombu.Producer(channel).publish({}, routing_key="k", exchange=f"{queue}_x")
        assert bound.queue_declare(passive=True).message_count == 3
        assert bound.purge() == 3
        assert client.exists(queue) == 0
        kombu.Producer(channel).publish({}, routing_key="k", exchange=f"{queue}_x")
        bound.delete()
        assert client.exists(queue) == 0
        kombu.Producer(channel).publish({}, routing_key="k", exchange=f"{queue}_x")
        assert client.exists(queue) == 0, "there is no binding any more"

    def test_priorities_are_ignored(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        channel = connect().channel()
        for priority in (0, 9, 5, 255, -3):
            kombu.Producer(channel).publish({"p": priority}, routing_key=queue, priority=priority)
        assert [channel.basic_get(queue, no_ack=True).payload["p"] for _ in range(5)] == [0, 9, 5, 255, -3]
        assert client.keys(f"{queue}*") == []

    def test_simple_queues(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        simple = connection.SimpleQueue(queue)
        for n in range(3):
            simple.put({"n": n})
        assert len(simple) == 3
        message = simple.get(timeout=60)
        assert message.payload == {"n": 0}
        message.ack()
        simple.get(timeout=60).ack()
        # The consumer has the message already, so get_nowait() would not find it. With AMQP this is the same.
        simple.get(timeout=60).ack()
        with pytest.raises(simple.Empty):
            simple.get_nowait()
        with pytest.raises(simple.Empty):
            simple.get(timeout=0.1)
        simple.close()
        connection.release()
        assert client.exists(queue) == 0
        assert ours(client) == []

    def test_the_default_channel(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
    ) -> None:
        connection = connect()
        kombu.Producer(connection.default_channel).publish({"x": 1}, routing_key=queue)
        with connection.Producer() as producer:
            producer.publish({"x": 2}, routing_key=queue)
        assert client.llen(queue) == 2

    def test_recover(self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str) -> None:
        connection = connect()
        channel = connection.channel()
        client.rpush(queue, b"1", b"2")
        seen: list[Any] = []
        with kombu.Consumer(channel, [kombu.Queue(queue)], on_message=seen.append) as consumer:
            connection.drain_events(timeout=60)
            assert [m.body for m in seen] == [b"1", b"2"]
            consumer.recover(requeue=True)
            connection.drain_events(timeout=60)
        assert [m.body for m in seen] == [b"1", b"2"] * 2

    @pytest.mark.parametrize(
        "body",
        [
            b'{"properties":{"delivery_tag":"x","body_encoding":"rot13"},"body":"eA=="}',
            b'{"properties":{"body_encoding":"base64"},"body":"\\u00e9"}',
            b'{"properties":{"body_encoding":[]},"body":"x"}',
            b'{"properties":{},"body":5}',
            b'{"properties":{},"body":null}',
            b'{"properties":{},"body":"x","headers":5}',
            b'{"properties":{},"body":"x","headers":{"compression":"nosuch"}}',
            b'{"properties":{},"body":{"__type__":"uuid","__value__":{}}}',
            b'{"properties":' + b"[" * 100_000,
            b'\xff\xfe "properties"',
        ],
    )
    def test_no_message_breaks_the_reader(
        self, connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str, body: bytes
    ) -> None:
        connection = connect()
        seen: list[Any] = []
        client.rpush(queue, body, b"next")
        with kombu.Consumer(connection.channel(), [kombu.Queue(queue)], on_message=seen.append):
            connection.drain_events(timeout=60)
        assert len(seen) == 2
        assert seen[1].body == b"next"
        assert isinstance(seen[0].body, bytes)


class TestAddresses:
    """Forms of a server's URL, with sockets, passwords and databases."""

    def test_socket_password_and_database(
        self, make_redis: Callable[..., RedisServer], looped: Callable[..., Looped], queue: str
    ) -> None:
        server = make_redis(unixsocket=True, args=["--requirepass", "s3cret:@/"])
        quoted = "s3cret%3A%40%2F"
        tcp = f"redis://:{quoted}@127.0.0.1:{server.port}/3"
        here = looped(tcp).join(queue)
        with redis.Redis(port=server.port, db=3, password="s3cret:@/") as client:
            client.rpush(queue, b"x")
            here.run(lambda: here.got)
        server.close()

    def test_a_socket_in_the_loop(
        self, make_redis: Callable[..., RedisServer], looped: Callable[..., Looped], queue: str
    ) -> None:
        server = make_redis(unixsocket=True)
        here = looped(f"redis+socket://{server.socket_path}:/5").join(queue)
        with redis.Redis(port=server.port, db=5) as client:
            client.rpush(queue, b"x")
            here.run(lambda: here.got)
            exchange = kombu.Exchange(f"{queue}_all", "fanout")
            own = kombu.Queue(f"{queue}_own", exchange, auto_delete=True)
            here.consumer.add_queue(own)
            here.consumer.consume()
            here.turn(0.2)
            kombu.Producer(here.channel, exchange).publish({}, routing_key="")
            here.run(lambda: len(here.got) == 2)
        here.close()


def test_a_forked_child_leaves_the_parents_alone(
    connect: Callable[..., kombu.Connection], client: redis.Redis, queue: str
) -> None:
    connection = connect()
    client.rpush(queue, b"x")
    seen: list[Any] = []
    consumer = kombu.Consumer(connection.channel(), [kombu.Queue(queue)], on_message=seen.append)
    consumer.consume()
    connection.drain_events(timeout=60)
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            connection.release()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    client.rpush(queue, b"y")
    connection.drain_events(timeout=60)
    while len(seen) < 2:
        connection.drain_events(timeout=60)
    assert [message.body for message in seen] == [b"x", b"y"]
    assert seen[0].channel.commit([]) == []
    seen[0].ack()
    connection.release()
    assert client.lrange(queue, 0, -1) == [b"y"]
