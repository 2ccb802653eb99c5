"""What goes beside a message that waits in RabbitMQ, and who sends it again after RabbitMQ has died."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import amqp
import pytest
from tests.support.servers import RabbitServer

from gearmesh import App, Retry
from gearmesh.config import AMQPConfig, Config
from gearmesh.interfaces.commit import Token
from gearmesh.testing.contracts.support import Tap, signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.amqp import delay_backups, publisher
from gearmesh.transports.amqp.publisher import BACKUP_HEADER, DUPLICATE_ATTEMPT_HEADER
from gearmesh.transports.registry import connect as connect_app
from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.names import AMQP_ALIVE, AMQP_LOOKING, amqp_spare
from gearmesh.worker import Worker

QUEUE = "machinery_tasks"
#: Seconds of a delay: Go's kind of queue, and over soon.
SOON = 0.5


class Bench:
    """A vhost, taps on it, and what only RabbitMQ's own operator would do."""

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

    def tap(self, *queues: str, patience: float = 30.0, looked: bool = True, **settings: Any) -> Tap:
        """``looked``: wait until what a consumer has looked for is done."""
        config = Config(broker=self.url, publish_timeout=patience, amqp=AMQPConfig(**settings))
        tap = Tap(connect_app(config), (), 0)
        self._stack.callback(tap.close)
        if queues:
            for queue in queues:
                tap.channel.basic_consume(
                    queue, callback=lambda raw: tap.got.append(tap.channel.message_to_python(raw))
                )
            if looked:
                eventually(lambda: self.count(AMQP_ALIVE), what="a look through the spares")
        return tap

    def look(self, patience: float = 30.0) -> None:
        """What a consumer's connection sees to aside."""
        tap = self.tap(patience=patience)
        with tap.channel.link.lock:
            tap.channel.link.spares(tap.channel.topology).look()

    def send(self, *bodies: bytes, seconds: float = SOON, **settings: Any) -> None:
        """By somebody who is gone right afterwards."""
        tap = self.tap(**settings)
        tap.publish("machinery_task", *bodies, eta_ns=time.time_ns() + int(seconds * 1e9))
        tap.close()

    def count(self, queue: str) -> int:
        channel = self.connection.channel()
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except amqp.NotFound:
            return 0

    def lose(self, count: int, queue: str = QUEUE) -> None:
        """What RabbitMQ does when it dies: what has just come out of its delay is gone, and so is all transient."""
        eventually(lambda: self.count(queue) == count)
        self.channel.queue_purge(queue)
        self.channel.queue_purge(AMQP_ALIVE)


@pytest.fixture
def bench(amqp_url: str) -> Iterator[Bench]:
    with Bench(amqp_url) as bench:
        yield bench


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is safe at once."""
    monkeypatch.setattr(delay_backups, "ON_DISK_AFTER_NS", 0)


@pytest.mark.parametrize(
    ("settings", "seconds", "ms", "bucket"),
    [
        ({}, 0.1, 100, 10),
        ({}, 0.3, 317, 10),
        ({}, 20.0, 20_000, 100),
        ({"delay_steps": 10}, 20.0, 25_119, 100),
        ({"exchange_type": "topic", "binding_key": "#"}, 0.3, 300, 10),
    ],
)
def test_a_spare_says_what_is_to_become_of_its_message(
    bench: Bench, settings: dict[str, Any], seconds: float, ms: int, bucket: int
) -> None:
    before = time.time_ns()
    bench.send(b'{"UUID":"x","Headers":{"a":"b"}}', seconds=seconds, **settings)
    after = time.time_ns()
    message = bench.channel.basic_get(amqp_spare(bucket))
    assert message is not None
    assert bytes(message.body) == b'{"UUID":"x","Headers":{"a":"b"}}'
    headers = message.properties["application_headers"]
    exchange, key, _, due, sent = headers.pop(BACKUP_HEADER)
    assert (exchange, key, headers) == ("machinery_exchange", "machinery_task", {"a": "b"})
    assert before <= int(sent) <= after
    waits = (int(due) - int(sent)) // 10**6
    assert ms - 50 <= waits <= ms, "as long as its queue has it"


def test_what_has_no_spare(bench: Bench) -> None:
    """What does not wait, waits for others, or longer than RabbitMQ could keep a spare."""
    bench.send(b"{}", seconds=0)
    bench.send(b"{}", delayed_queue="all_delayed")
    bench.send(b"{}", seconds=12 * 86_400)
    assert [bench.count(amqp_spare(10**power)) for power in range(1, 7)] == [0] * 6


def test_what_was_lost_at_the_end_of_its_delay_is_sent_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gearmesh.amqp")
    bench.tap(QUEUE).close()
    bodies = [signature("machinery_task", number) for number in range(5)]
    bench.send(*bodies)
    bench.send(b"later", seconds=60)
    bench.lose(5)
    tap = bench.tap(QUEUE)
    messages = tap.take(5)
    assert sorted(bytes(message.body) for message in messages) == bodies
    assert {message.delivery.duplicate_attempt for message in messages} == {1}, (
        "perhaps they are second copies"
    )
    assert "sent 5 delayed messages again that were due meanwhile" in caplog.text
    assert (bench.count(amqp_spare(10)), bench.count(amqp_spare(100))) == (0, 1), "later is still to come"
    bench.tap(QUEUE).quiet()
    tap.quiet()


def test_a_producers_batch_has_spares(bench: Bench) -> None:
    """Sent as one batch, of which notes are taken."""
    tap = bench.tap()
    token = Token("producer", 1)
    eta_ns = time.time_ns() + int(SOON * 1e9)
    bodies = [b"%d" % number for number in range(100)]
    tap.publish("machinery_task", *bodies, eta_ns=eta_ns, token=token)
    tap.close()
    bench.lose(100)
    assert sorted(bench.tap(QUEUE).bodies(100)) == sorted(bodies)


def test_the_first_to_delay_something_looks_too(bench: Bench) -> None:
    """Before it adds a spare of its own: that would say that RabbitMQ was there all the time."""
    bench.send(b"lost")
    bench.lose(1)
    bench.send(b"new", seconds=60)
    eventually(lambda: bench.count(QUEUE) == 1)
    message = bench.channel.basic_get(QUEUE)
    assert message is not None
    assert (bytes(message.body), message.properties["application_headers"]) == (
        b"lost",
        {DUPLICATE_ATTEMPT_HEADER: 1},
    )


def test_a_connection_that_ends_loses_nothing_that_waits(bench: Bench) -> None:
    """Nothing is sent again either: RabbitMQ was there all the time."""
    bench.send(b"x")
    eventually(lambda: bench.count(QUEUE) == 1)
    tap = bench.tap(QUEUE)
    assert [message.delivery.duplicate_attempt for message in tap.take(1)] == [0]
    bench.tap(QUEUE).quiet()


@pytest.mark.usefixtures("hasty")
def test_what_was_safe_is_not_sent_again(bench: Bench) -> None:
    """A spare was sent when this one had been due for some time: RabbitMQ was there."""
    bench.send(b"old")
    eventually(lambda: bench.count(QUEUE) == 1)
    bench.send(b"new", seconds=1.0)
    bench.lose(2)
    tap = bench.tap(QUEUE)
    assert tap.bodies(1) == [b"new"]
    tap.quiet()
    assert bench.count(amqp_spare(10)) == 0


@pytest.mark.usefixtures("hasty")
def test_who_sent_it_notes_down_that_it_is_safe(bench: Bench) -> None:
    """Where no other spare follows. Without that all since the last one would be sent again, however old."""
    tap = bench.tap(heartbeat=1)  # a connection is looked after four times as often
    tap.publish("machinery_task", b"x", eta_ns=time.time_ns() + int(SOON * 1e9))
    eventually(lambda: bench.count(amqp_spare(10)) == 2)
    bench.lose(1)
    bench.tap(QUEUE).quiet()


@pytest.mark.usefixtures("hasty")
def test_another_machines_clock_says_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its spares say they were sent at may be hours away from what ours do."""
    bench.send(b"x")
    monkeypatch.setattr(delay_backups, "_clock", lambda: "elsewhere")
    monkeypatch.setattr(delay_backups, "_watches", {})
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)
    bench.send(b"y", seconds=60)
    monkeypatch.setattr(time, "time_ns", now)
    bench.lose(1)
    assert bench.tap(QUEUE).bodies(1) == [b"x"]


def test_one_looks_and_the_others_wait(bench: Bench) -> None:
    """Each would take a part of the spares, and take that for all there are."""
    bench.send(b"x")
    bench.lose(1)
    bench.channel.queue_declare(AMQP_LOOKING, durable=False, exclusive=True, auto_delete=False)
    waiting = threading.Thread(target=bench.look)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    bench.channel.basic_publish(amqp.Message(b""), "", AMQP_ALIVE)
    waiting.join(20)
    assert not waiting.is_alive()
    assert (bench.count(QUEUE), bench.count(amqp_spare(10))) == (0, 1), "the other one has seen to it"


def test_who_looks_may_die(bench: Bench) -> None:
    bench.send(b"x")
    bench.lose(1)
    other = amqp.Connection(bench.connection.host, virtual_host=bench.connection.virtual_host)
    other.connect()
    other.channel().queue_declare(AMQP_LOOKING, durable=False, exclusive=True, auto_delete=False)
    with pytest.raises(amqp.RecoverableConnectionError, match=r"looking through the spares for 0\.2 s"):
        bench.look(patience=0.2)
    other.close()
    bench.look()
    assert bench.count(QUEUE) == 1


def test_who_consumes_does_not_wait_for_that(bench: Bench) -> None:
    """Nor is its connection one that has published: such a one stands still while RabbitMQ has an alarm."""
    bench.send(b"x")
    bench.lose(1)
    bench.channel.queue_declare(AMQP_LOOKING, durable=False, exclusive=True, auto_delete=False)
    tap = bench.tap(QUEUE, looked=False)
    bench.channel.basic_publish(amqp.Message(b"first", content_type="text/plain"), "", QUEUE)
    assert tap.bodies(1) == [b"first"]
    bench.channel.queue_delete(AMQP_LOOKING)
    assert tap.bodies(1) == [b"x"]


@pytest.mark.usefixtures("hasty")
def test_a_queue_that_is_full_by_then(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The spare is kept, whatever is sent meanwhile, and nobody waits for ever."""
    full = {"queue_declare_args": {"x-max-length": 1, "x-overflow": "reject-publish"}}
    bench.send(b"x", **full)
    bench.lose(1)
    bench.channel.basic_publish(amqp.Message(b"first"), "", QUEUE)
    bench.look(patience=0.5)
    assert "RabbitMQ refuses messages for 'machinery_task'" in caplog.text
    bench.send(b"later", seconds=60, **full)
    tap = bench.tap(QUEUE, **full)
    assert tap.settle(*tap.take(1)) == ["done"]
    tap.quiet()
    bench.channel.queue_purge(AMQP_ALIVE)
    bench.look()
    (message,) = tap.take(1)
    assert (bytes(message.body), message.delivery.duplicate_attempt) == (b"x", 1)


def test_an_exchange_that_is_gone_by_then(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What is meant for another one is sent again all the same."""
    bench.send(b"1", exchange="deleted")
    bench.send(b"2")
    bench.lose(2)
    bench.channel.exchange_delete("deleted")
    assert bench.tap(QUEUE).bodies(1) == [b"2"]
    assert "RabbitMQ refuses messages for 'machinery_task': " in caplog.text
    assert bench.count(amqp_spare(10)) == 1


def test_where_spares_can_not_be_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The message is sent, and read."""
    bench.channel.queue_declare(amqp_spare(10), durable=True, auto_delete=False)
    bench.send(b"x")
    assert "delayed messages have no backup copy, and may be lost if RabbitMQ is killed" in caplog.text
    assert "gearmesh:spare:10" in caplog.text
    bench.channel.queue_delete(AMQP_ALIVE)
    bench.channel.queue_declare(AMQP_ALIVE, durable=True, auto_delete=False)
    assert bench.tap(QUEUE, looked=False).bodies(1) == [b"x"]
    assert "gearmesh:alive" in caplog.text


def test_a_wait_that_began_late(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its spare was made, and RabbitMQ took the message later: another one says when it is over at the latest.

    An alarm could be the reason; here it is somebody else's look through the spares.
    """
    monkeypatch.setattr(publisher, "_BACKUP_RESEND_AFTER_NS", 0.2 * 10**9)
    bench.tap(QUEUE).close()
    bench.channel.queue_purge(AMQP_ALIVE)
    bench.channel.queue_declare(AMQP_LOOKING, durable=False, exclusive=True, auto_delete=False)
    sending = threading.Thread(target=bench.send, args=(b"x",))
    sending.start()
    sending.join(0.5)
    assert sending.is_alive()
    released = time.time_ns()
    bench.channel.basic_publish(amqp.Message(b""), "", AMQP_ALIVE)
    sending.join(20)
    first, second = (bench.channel.basic_get(amqp_spare(10)) for _ in range(2))
    assert (bytes(first.body), bytes(second.body)) == (b"x", b"x")
    assert int(second.headers[BACKUP_HEADER][3]) - int(first.headers[BACKUP_HEADER][3]) >= 0.5e9
    assert int(second.headers[BACKUP_HEADER][3]) >= released + SOON * 1e9, "RabbitMQ took it after that"


@pytest.mark.usefixtures("hasty")
def test_a_last_note_lives_as_long_as_the_spares_it_speaks_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it do not crowd out the spares among which it is."""
    monkeypatch.setattr(delay_backups, "MARKER_INTERVAL_NS", 10**9)
    tap = bench.tap(heartbeat=1)
    for seconds in (11, 2):
        tap.publish("machinery_task", b"x", eta_ns=time.time_ns() + seconds * 10**9)
    eventually(lambda: bench.count(amqp_spare(10)) > 2)
    assert bench.count(amqp_spare(100)) == 1
    eventually(lambda: bench.count(amqp_spare(100)) == 2)
    eventually(lambda: bench.count(QUEUE) == 2)


def test_what_is_no_spare(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has put it there: it is named, and left alone."""
    bench.send(b"x")
    bench.lose(1)
    for headers in ({}, {BACKUP_HEADER: "wrong"}, {BACKUP_HEADER: ["", "", "", "soon", ""]}):
        bench.channel.basic_publish(amqp.Message(b"?", application_headers=headers), "", amqp_spare(10))
    assert bench.tap(QUEUE).bodies(1) == [b"x"]
    assert caplog.text.count(f"header {BACKUP_HEADER} is") == 3
    assert bench.count(amqp_spare(10)) == 3


@pytest.mark.timeout(180)
@pytest.mark.parametrize("twice", [False, True])
def test_rabbitmq_dies_after_all_who_could_send_it_again(
    make_rabbitmq: Callable[..., RabbitServer], redis_url: str, twice: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that has ended, and a producer. ``twice``: the delay ends as RabbitMQ starts, which is killed then.

    RabbitMQ may have lost a message, or have it where it waited as well as where it went: the two files are written
    each in its own time.
    """
    caplog.set_level(logging.INFO, "gearmesh.amqp")
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
        eventually(lambda: bench.count(QUEUE) == 51)
        server.kill()
    server.start()
    with Worker(app, concurrency=4):
        assert [result.get(timeout=60) for result in results] == list(range(51))
    app.close()
    assert "sent 51 delayed messages again that were due meanwhile" in caplog.text
    assert {number: count for number, count in tries.items() if not 2 <= count <= 3} == {}
