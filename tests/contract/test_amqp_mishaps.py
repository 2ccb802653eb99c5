"""A RabbitMQ fails in many ways, and a worker lives with each."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.contract.arrived import found
from tests.support.servers import RabbitServer, free_port
from tests.support.tally import Tally

from gearmesh import App, AsyncResult, Retry, chain
from gearmesh.backends.registry import open_backend
from gearmesh.config import AMQPConfig, Config
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.amqp.frames import OutgoingMessage
from gearmesh.transports.amqp.publisher import DUPLICATE_ATTEMPT_HEADER
from gearmesh.transports.registry import connect as connect_app
from gearmesh.transports.registry import open_connection
from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.gotime import from_datetime
from gearmesh.wire.signature import Signature
from gearmesh.worker import Worker

MakeRabbit = Callable[..., RabbitServer]


@contextlib.contextmanager
def at_work(app: App, **options: Any) -> Iterator[Worker]:
    with Worker(app, **options) as worker:
        yield worker
    app.close()


def waiting(url: str, queue: str = "machinery_tasks") -> int:
    """Return the number of ready messages in a queue; unacked ones are not counted."""
    with open_connection(url) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)


class Counted:
    """An app whose tasks count how often they ran."""

    def __init__(self, url: str, redis_url: str, **settings: Any) -> None:
        self.app = App(broker=url, backend=redis_url, **settings)
        self.runs = Tally()
        self.go_on = threading.Event()
        self.begun = threading.Event()

        @self.app.task
        def hold(name: str) -> str:
            self.runs.add(name)
            self.begun.set()
            assert self.go_on.wait(240)
            return name

        @self.app.task
        def note(name: str) -> str:
            self.runs.add(name)
            return name

        @self.app.task
        def work(name: str) -> str:
            self.runs.add(name)
            time.sleep(0.02)
            return name

        self.hold, self.note, self.work = hold, note, work


@pytest.fixture
def counted(amqp_url: str, redis_url: str) -> Counted:
    return Counted(amqp_url, redis_url)


def test_a_worker_from_end_to_end(counted: Counted, amqp_url: str) -> None:
    with at_work(counted.app, concurrency=3):
        results = counted.app.publish_many([counted.note.s(str(n)) for n in range(300)])
        assert [result.get(timeout=20) for result in results] == [str(n) for n in range(300)]
        assert counted.note.apply_async(("later",), countdown=0.2).get(timeout=10) == "later"
    assert set(counted.runs.values()) == {1}
    assert waiting(amqp_url) == 0


def test_a_stopping_worker_finishes_and_acknowledges_its_running_task(
    counted: Counted, amqp_url: str
) -> None:
    with at_work(counted.app, concurrency=1) as worker:
        result = counted.hold.delay("x")
        assert counted.begun.wait(10)
        waiting_one = counted.note.delay("not begun")
        wait = worker._wait_for_tasks

        def wait_for_tasks(deadline: float) -> bool:
            counted.go_on.set()  # it takes no more by now
            return wait(deadline)

        worker._wait_for_tasks = wait_for_tasks  # type: ignore[method-assign]
    assert (result.state, counted.runs) == ("SUCCESS", {"x": 1})
    assert waiting(amqp_url) == 1, "the message is back in the queue"
    with at_work(counted.app):
        assert waiting_one.get(timeout=10) == "not begun"
    assert waiting(amqp_url) == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seconds", [1.5, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_long_task_outlives_the_consumer_timeout(
    counted: Counted,
    amqp_url: str,
    rabbitmq_server: RabbitServer,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
) -> None:
    """RabbitMQ closes the channel and redelivers the running task; the worker adopts the delivery and runs it once."""
    settings = {"consumer_timeout": int(seconds * 1000), "channel_tick_interval": int(seconds * 200)}
    before = {name: rabbitmq_server.evaluate(f"application:get_env(rabbit, {name}).") for name in settings}
    for name, ms in settings.items():
        rabbitmq_server.evaluate(f"application:set_env(rabbit, {name}, {ms}).")
    try:
        with caplog.at_level(logging.INFO), at_work(counted.app, concurrency=2):
            result = counted.hold.delay("long")
            assert counted.begun.wait(10)
            assert counted.note.delay("meanwhile").get(timeout=10) == "meanwhile"
            eventually(lambda: caplog.text.count("this worker still holds") >= 2, 20 + 3 * seconds)
            assert counted.note.delay("after").get(timeout=10) == "after"
            counted.go_on.set()
            assert result.get(timeout=10) == "long"
    finally:
        for name, value in before.items():
            rabbitmq_server.evaluate(
                f"application:set_env(rabbit, {name}, {value.strip('{}').split(', ')[1]})."
            )
    assert counted.runs == {"long": 1, "meanwhile": 1, "after": 1}
    closings = [r.getMessage() for r in caplog.records if "closed the channel" in r.getMessage()]
    assert closings
    assert all("machinery_tasks" in text and "timed out" in text for text in closings)
    assert waiting(amqp_url) == 0


def test_connections_closed_while_tasks_run(
    counted: Counted, amqp_url: str, rabbitmq_server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), at_work(counted.app, concurrency=2) as worker:
        result = counted.hold.delay("x")
        assert counted.begun.wait(10)
        rabbitmq_server.close_connections("by hand")
        eventually(lambda: "this worker still holds" in caplog.text)
        assert counted.note.delay("y").get(timeout=10) == "y"
        counted.go_on.set()
        assert result.get(timeout=10) == "x"
        eventually(lambda: not worker._jobs)
    assert counted.runs == {"x": 1, "y": 1}
    assert waiting(amqp_url) == 0


def test_a_result_whose_delivery_was_lost_is_not_computed_again(
    counted: Counted, amqp_url: str, rabbitmq_server: RabbitServer
) -> None:
    """The task ends while its connection is gone; the redelivery finds the state and sends the follow-up task."""
    then = counted.note.s("after").set(immutable=True)
    with at_work(counted.app, concurrency=1):
        result = counted.app.send(counted.hold.si("x") | then)
        assert counted.begun.wait(10)
        rabbitmq_server.close_connections("by hand")
        counted.go_on.set()
        assert result.get(timeout=20) == "after"
        eventually(lambda: waiting(amqp_url) == 0)
    assert counted.runs == {"x": 1, "after": 1}


@contextlib.contextmanager
def two_at_work(counted: Counted, url: str) -> Iterator[list[Worker]]:
    """Run two workers; at the end, wait until they have run all messages."""
    with at_work(counted.app, concurrency=1) as one, at_work(counted.app, concurrency=1) as other:
        yield [one, other]
        eventually(lambda: not waiting(url) and not any(worker._jobs for worker in (one, other)))


def written(app: App, flow: Any) -> tuple[AsyncResult, Callable[..., None]]:
    """Store the states of a workflow; return its result, and a function that sends copies of its first message.

    Each argument of that function sends one copy, True marks it as a possible duplicate.
    """
    result = app.send(flow)
    with connect_app(app.config) as connection:
        channel = connection.channel()
        (body,) = channel.pending("machinery_tasks", 10)
        channel.queue_purge("machinery_tasks")

    def send(*copies: bool) -> None:
        with connect_app(app.config) as connection:
            channel = connection.channel()
            for again in copies:
                message = channel.prepare_message(
                    body,
                    content_type="application/json",
                    headers={DUPLICATE_ATTEMPT_HEADER: 1} if again else {},
                )
                channel.basic_publish(message, routing_key="machinery_tasks")

    return result, send


def test_a_second_copy_right_behind_the_first(counted: Counted, amqp_url: str) -> None:
    """Two workers take one copy each at the same time: each later step of the chain is sent once."""
    result, send = written(counted.app, chain(*(counted.work.si(str(n)) for n in range(4))))
    with two_at_work(counted, amqp_url):
        send(False, True)
        assert result.get(timeout=20) == "3"
    assert set(counted.runs.values()) == {1}
    assert len(counted.runs) == 4


def test_a_second_copy_while_the_first_is_at_work(counted: Counted, amqp_url: str) -> None:
    """However long that takes: it comes back now and then."""
    result, send = written(counted.app, counted.hold.si("x") | counted.note.si("after"))
    with two_at_work(counted, amqp_url) as workers:
        send(False, True)
        assert counted.begun.wait(10)
        eventually(
            lambda: any(
                job.delivery.duplicate_attempt == 3 for each in workers for job in list(each._jobs.values())
            )
        )
        assert counted.runs == {"x": 1}
        counted.go_on.set()
        assert result.get(timeout=20) == "after"
    assert counted.runs == {"x": 1, "after": 1}


def test_a_second_copy_that_is_the_only_one(counted: Counted, amqp_url: str) -> None:
    result, send = written(counted.app, counted.note.si("x") | counted.note.si("after"))
    with two_at_work(counted, amqp_url):
        send(True)
        assert result.get(timeout=20) == "after"
    assert counted.runs == {"x": 1, "after": 1}


def test_a_connection_that_another_thread_finds_broken(counted: Counted, amqp_url: str) -> None:
    """The committer acknowledges through the intake's connection: its error must not end the intake silently."""
    with at_work(counted.app, concurrency=1) as worker:
        assert counted.note.delay("1").get(timeout=10) == "1"
        channel = worker._intake._channel
        with channel.link.lock:
            channel.link.sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                channel.link.beat()
            assert not channel.link.connected
        assert counted.note.delay("2").get(timeout=20) == "2"
    assert waiting(amqp_url) == 0


@pytest.mark.parametrize(
    "ask",
    [
        lambda link: link.publisher.publish([OutgoingMessage("", "nowhere", b"")]),
        lambda link: link.declarer.count("nowhere"),
    ],
    ids=["publish", "question"],
)
def test_a_channel_of_a_closed_connection_is_a_connection_error(
    amqp_url: str, rabbitmq_server: RabbitServer, ask: Callable[..., Any]
) -> None:
    """RabbitMQ has closed the connection before its first publish, or its first question, has opened a channel."""
    connection = open_connection(amqp_url)
    link = connection.transport.establish_connection()
    rabbitmq_server.close_connections("by hand")
    with pytest.raises(connection.connection_errors):
        link.drain_events(timeout=10)
    assert link.channels is None, "py-amqp has noticed"
    with pytest.raises(connection.connection_errors):
        ask(link)
    link.close()
    connection.close()


def test_a_queue_deleted_under_its_worker(
    counted: Counted, amqp_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(counted.app, concurrency=2):
        assert counted.note.delay("1").get(timeout=10) == "1"
        with open_connection(amqp_url) as connection:
            connection.channel().queue_delete("machinery_tasks")
        # RabbitMQ tells the worker, or refuses it a new consumer: the end of a first task changes the prefetch.
        told = (
            "queue machinery_tasks was deleted while this worker was reading it",
            "no queue 'machinery_tasks'",
        )
        eventually(lambda: any(text in caplog.text for text in told))
        assert counted.note.delay("2").get(timeout=10) == "2"
    assert counted.runs == {"1": 1, "2": 1}


def test_an_alarm_blocks_publishing_and_nothing_else(
    amqp_url: str, rabbitmq_server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    alarm = "{resource_limit, memory, node()}"
    config = Config(broker=amqp_url, publish_timeout=1.0)
    with connect_app(config) as connection, connect_app(config) as patient, connect_app(config) as reading:
        tap = Tap(connection, (), 0)
        tap.publish("q", b"1")
        rabbitmq_server.evaluate(f"rabbit_alarm:set_alarm({{{alarm}, []}}).")
        try:
            with pytest.raises(
                connection.connection_errors, match=r"no confirm in 1 s \(it has an alarm: .*memory"
            ):
                tap.channel.stream([[Commit(publishes=(Publish("q", b"2"),))]], lambda count: None)
            # Without a caller who waits: until the alarm is over.
            done: list[Any] = []
            channel = patient.channel()
            commit = [Commit(publishes=(Publish("q", b"3"),))]
            worker = threading.Thread(target=lambda: done.extend(channel.commit(commit)))
            worker.start()
            worker.join(1.5)
            assert worker.is_alive()
            reader = Tap(reading, ("q",), 0)
            assert reader.settle(*reader.take(1)) == ["done"]
            assert reader.channel.queue_declare("q", passive=True).message_count == 0
        finally:
            rabbitmq_server.evaluate(f"rabbit_alarm:clear_alarm({alarm}).")
        worker.join(10)
        assert done == ["done"]
    assert "RabbitMQ blocks publishing (it has an alarm" in caplog.text
    assert "RabbitMQ accepts messages again" in caplog.text


@pytest.mark.parametrize(("delayed_queue", "most"), [("", 1825), ("later", 3650)])
def test_an_eta_that_is_too_far_away(amqp_url: str, redis_url: str, delayed_queue: str, most: int) -> None:
    """RabbitMQ has a longest delay; gearmesh refuses a longer one before it writes anything."""
    app = App(amqp_url, redis_url, amqp={"delayed_queue": delayed_queue})
    task = app.remote("work")
    soon = datetime.now(timezone.utc) + timedelta(days=most - 1)
    assert task.apply_async(eta=soon).state == "PENDING"
    text = f", but the broker delays a message for at most {most} days"
    for eta in (datetime.max.replace(tzinfo=timezone.utc), soon + timedelta(days=2)):
        said = rf"task 'work': its ETA is {eta:%Y-%m-%d}T.*Z{text}"
        with pytest.raises(LocalProtocolError, match=said):
            task.apply_async(eta=eta, uuid="task_late")
        with pytest.raises(LocalProtocolError, match=said):
            app.send(Signature(UUID="task_late", Name="work", ETA=from_datetime(eta)))
        with pytest.raises(LocalProtocolError, match=said):
            chain(task.s(), task.s().set(eta=eta, uuid="task_late")).delay()
    assert app.states(["task_late"]) == [None]
    # The transport checks the messages that a worker sends.
    with open_connection(amqp_url, options={"amqp": app.config.amqp}) as connection:
        late = Commit(publishes=(Publish("q", b"{}", 2**68),))
        with pytest.raises(LocalProtocolError, match=f"RabbitMQ delays a message for at most {most} days"):
            connection.channel().commit([late])
    app.close()


def test_the_next_of_several_brokers(counted: Counted, amqp_url: str, redis_url: str) -> None:
    away = f"amqp://guest:secret@127.0.0.1:{free_port()}/"
    other = Counted(f"{away};{amqp_url}", redis_url, multiple_broker_separator=";")
    with at_work(other.app, concurrency=1):
        assert other.note.delay("x").get(timeout=20) == "x"
    assert other.runs == {"x": 1}


def test_a_restart_loses_nothing(make_rabbitmq: MakeRabbit, redis_url: str, tmp_path: Path) -> None:
    """TLS with a client's certificate, and a broker that goes away and comes back in the midst of it."""
    tls = _certificates(tmp_path)
    server = make_rabbitmq(
        tls={
            "cacertfile": tls["ca"],
            "certfile": tls["server"],
            "keyfile": tls["server_key"],
            "verify": "verify_peer",
            "fail_if_no_peer_cert": "true",
        }
    )
    secured = AMQPConfig(ca=str(tls["ca"]), cert=str(tls["client"]), key=str(tls["client_key"]))
    counted = Counted(server.tls_url, redis_url, amqp=secured)
    strangers = (AMQPConfig(), AMQPConfig(ca=str(tls["ca"])))
    for config in strangers:
        connection = connect_app(Config(broker=server.tls_url, amqp=config))
        with pytest.raises(connection.connection_errors):
            connection.channel()
        connection.release()
        unread = open_backend(server.tls_url, expire=60, options={"amqp": config})
        with pytest.raises(unread.connection_errors):
            unread.read(["task_1"])
    backend = open_backend(server.tls_url, expire=60, options={"amqp": secured})
    assert backend.read(["task_1"]) == [None]
    backend.close()
    with pytest.raises(ConfigError, match=r"amqp\.ca, amqp\.cert or amqp\.key \(.*nowhere"):
        connect_app(Config(broker=server.tls_url, amqp=AMQPConfig(ca=str(tmp_path / "nowhere")))).connect()

    big = "x" * 300_000  # of several frames, and TLS records
    with at_work(counted.app, concurrency=2):
        assert counted.note.delay(big).get(timeout=20) == big
        results = counted.app.publish_many([counted.note.s(str(n)) for n in range(200)])
        late = counted.note.apply_async(("late",), countdown=8)
        server.restart()
        results += counted.app.publish_many([counted.note.s(str(n)) for n in range(200, 400)])
        assert [result.get(timeout=60) for result in results] == [str(n) for n in range(400)]
        assert late.get(timeout=20) == "late", "delayed messages are as durable"
    with connect_app(counted.app.config) as connection:
        assert connection.channel().queue_declare("machinery_tasks", passive=True).message_count == 0


@pytest.mark.timeout(400)
def test_retries_that_leave_their_delay_survive_the_death_of_rabbitmq(
    make_rabbitmq: MakeRabbit, redis_url: str
) -> None:
    """RabbitMQ has moved all retries into their queue, and dies before they have reached the disk.

    A queue of delays that is new when RabbitMQ is killed may have no leader afterwards, so one retry comes first.
    """
    server = make_rabbitmq()
    app = App(broker=server.url_of(server.vhost()), backend=redis_url)
    tries: Counter[int] = Counter()
    again = threading.Event()

    @app.task(retry=Retry(max=1, jitter=False))
    def fails_once(number: int) -> int:
        tries[number] += 1
        if tries[number] == 1:
            raise ConnectionError("the first try")
        again.set()
        return number

    with at_work(app, concurrency=1):
        assert fails_once.delay(-1).get(timeout=60) == -1
        again.clear()
        results = app.publish_many(fails_once.s(number) for number in range(50))
        assert again.wait(60)
        server.kill()
        server.start()
        # RabbitMQ may confirm to itself after 3 minutes only.
        assert [result.get(timeout=240) for result in results] == list(range(50))


def test_a_batch_over_a_broken_connection(amqp_url: str, make_proxy: Callable[..., Any]) -> None:
    """The confirms of a batch never arrive. The second copies, over another connection, are marked as duplicates."""
    target = parse(amqp_url, "broker")
    assert isinstance(target, AMQPTarget)
    proxy = make_proxy(target.port)
    with App(broker=amqp_url.replace(str(target.port), str(proxy.port)), publish_timeout=20.0) as app:
        task = app.remote("add", "int64")
        task.delay(0)
        proxy.lose_replies(1, b"machinery_exchange")
        app.publish_many([task.s(n) for n in range(1, 101)])
        assert proxy.lost == 1

    eventually(lambda: {n for n, _ in found(amqp_url)} == set(range(101)))
    assert max(Counter(n for n, again in found(amqp_url) if not again).values()) == 1


def test_two_queues_share_the_prefetch_count_of_one_worker(amqp_url: str) -> None:
    """Messages beyond that go back soon, and others get them."""
    with open_connection(amqp_url) as connection, open_connection(amqp_url) as other:
        greedy = Tap(connection, ("a", "b"), 1)
        for queue in ("a", "b"):
            greedy.publish(queue, queue.encode())
        (first,) = greedy.take(1)
        modest = Tap(other, ("a", "b"), 2)

        def drain() -> bool:
            greedy.drain(0.02)
            modest.drain(0.02)
            return bool(modest.got)

        eventually(drain)
        assert not greedy.got
        assert {bytes(first.body), bytes(modest.take(1)[0].body)} == {b"a", b"b"}
        greedy.settle(first)
        modest.publish("a", b"again")
        eventually(lambda: (drain() and greedy.got) or modest.got)


def test_prefetch_grows_and_shrinks(amqp_url: str) -> None:
    with open_connection(amqp_url) as connection:
        tap = Tap(connection, ("q",), 1)
        tap.publish("q", *(b"%d" % n for n in range(200)))
        held: list[Any] = []
        for wanted in (1, 2, 5, 40, 41, 3, 1, 60, 2, 7, 8, 9, 10, 11, 12, 13):
            tap.channel.basic_qos(0, wanted, False)
            if wanted > len(held):
                held += tap.take(wanted - len(held))
            tap.quiet(0.02)
            tap.settle(*held[wanted // 2 :])
            del held[wanted // 2 :]
        subscription = next(iter(tap.channel.subscriptions.values()))
        assert len(subscription.sources) <= 8


def _certificates(folder: Path) -> dict[str, Path]:
    """A CA, and certificates of its for a server on localhost and for a client."""

    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)

    openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout ca.key -out ca.pem -days 2")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, extra in (("server", " -extfile names"), ("client", "")):
        openssl(f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
        openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem{extra}"
        )
    return {
        "ca": folder / "ca.pem",
        "server": folder / "server.pem",
        "server_key": folder / "server.key",
        "client": folder / "client.pem",
        "client_key": folder / "client.key",
    }
