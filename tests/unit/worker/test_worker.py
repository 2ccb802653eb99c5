"""A whole worker in this process, on the memory broker and on Redis."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis
from tests.support.servers import RedisServer, free_port

from gearmesh import App, ConfigError, GearmeshError, TaskFailed, chain, chord
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import encode
from gearmesh.wire.names import QueueKeys
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.types import arg
from gearmesh.worker import Worker

QUEUE = "machinery_tasks"


class Broker:
    """Read the messages at the broker, from outside."""

    def __init__(self, url: str) -> None:
        self._connection = open_connection(url)
        self.channel: Any = self._connection.channel()

    def names(self, queue: str = QUEUE) -> list[str]:
        """The first argument of every waiting message, in order."""
        return [json.loads(body)["Args"][0]["Value"] for body in self.channel.pending(queue)]

    def push(self, *bodies: bytes, queue: str = QUEUE) -> None:
        self.channel.commit([Commit(publishes=(Publish(queue, body),)) for body in bodies])

    def dead(self, queue: str = QUEUE) -> list[DeadLetter]:
        letters: list[DeadLetter] = self.channel.dead_letters(queue)
        return letters

    def close(self) -> None:
        self._connection.release()


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{uuid4().hex}"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    broker = Broker(url)
    yield broker
    broker.close()


@pytest.fixture
def app(url: str) -> Iterator[App]:
    with App(url, url, lease=3.0) as app:
        yield app


class Gate:
    """A task that waits until it is let through, and the keys it was run with."""

    def __init__(self, app: App) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.began: list[str] = []
        self.task = app.task(self._run, name="gated")

    def _run(self, key: str) -> str:
        with self._lock:
            self.began.append(key)
        assert self._open.wait(60)
        return key

    def open(self) -> None:
        self._open.set()

    def open_when_stopping(self, worker: Worker) -> None:
        """Open once the worker takes no more messages and waits for its running tasks."""
        wait = worker._wait_for_tasks

        def opened(deadline: float) -> bool:
            self.open()
            return wait(deadline)

        worker._wait_for_tasks = opened  # type: ignore[method-assign]


@pytest.fixture
def gate(app: App) -> Iterator[Gate]:
    gate = Gate(app)
    yield gate
    gate.open()


# -- life


def test_a_worker_runs_tasks_chains_and_chords(app: App) -> None:
    add = app.task(lambda *numbers: sum(numbers), name="add")
    with Worker(app, concurrency=2):
        assert add.delay(1, 2).get(timeout=10) == 3
        assert chain(add.s(1), add.s(2), add.s(3)).apply_async().get(timeout=10) == 6
        assert chord([add.s(i) for i in range(20)], add.s(1000)).apply_async().get(timeout=10) == 1190


def test_it_starts_and_stops_twice(app: App) -> None:
    worker = Worker(app, concurrency=2)
    assert worker.start() is worker.start()
    assert worker.stop()
    assert worker.stop()


def test_it_stops_before_it_starts(app: App) -> None:
    worker = Worker(app)
    assert worker.stop()
    assert worker.stop()
    before = set(threading.enumerate())
    worker.run()
    assert set(threading.enumerate()) == before, "the worker starts no thread that would stay"


def test_run_ends_with_stop(app: App) -> None:
    worker = Worker(app, concurrency=1)
    thread = threading.Thread(target=worker.run)
    thread.start()
    worker.start()
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_no_thread_outlives_it(app: App) -> None:
    @app.task
    async def pause() -> None:
        pass

    before = set(threading.enumerate())
    with Worker(app, concurrency=3):
        pause.delay().get(timeout=10)
    shared = ("gearmesh-waiter", "gearmesh-listener", "gearmesh-watch")  # the app's own

    def left() -> list[str]:
        names = [thread.name for thread in set(threading.enumerate()) - before]
        return [name for name in names if name.startswith("gearmesh-") and name not in shared]

    eventually(lambda: not left())


@pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "4"])
def test_concurrency_is_a_number_above_zero(concurrency: Any, app: App) -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        Worker(app, concurrency=concurrency)


def test_names_are_never_the_same(app: App) -> None:
    assert Worker(app).consumer != Worker(app).consumer


# -- stopping


def test_a_stopping_worker_returns_tasks_not_begun_in_order(app: App, gate: Gate, broker: Broker) -> None:
    keys = [f"key {number}" for number in range(8)]
    worker = Worker(app, concurrency=1).start()
    app.publish_many(gate.task.s(key) for key in keys)
    eventually(lambda: gate.began == keys[:1])
    gate.open_when_stopping(worker)
    assert worker.stop(60)
    assert broker.names() == keys[1:]
    assert gate.began == keys[:1]


def test_tasks_that_outlast_the_stop_go_back_too(app: App, gate: Gate, broker: Broker) -> None:
    worker = Worker(app, concurrency=2).start()
    results = app.publish_many(gate.task.s(f"key {number}") for number in range(4))
    eventually(lambda: len(gate.began) == 2)
    assert not worker.stop(0.2)
    assert broker.names() == [f"key {number}" for number in range(4)]
    gate.open()  # the threads end, and can't commit any more
    with Worker(app, concurrency=2):
        assert [result.get(timeout=10) for result in results] == [f"key {number}" for number in range(4)]
    assert sorted(gate.began) == sorted([*(f"key {n}" for n in range(4)), "key 0", "key 1"])


def test_messages_behind_long_tasks_are_given_to_other_workers(app: App, gate: Gate, url: str) -> None:
    """Both slots of one worker are taken; its prefetched messages must not wait for them."""
    began: list[str] = []
    with App(url, url, lease=3.0) as other:
        other.task(lambda key: began.append(key), name="gated")
        with Worker(app, concurrency=2):
            app.publish_many(gate.task.s(f"key {number}") for number in range(8))
            eventually(lambda: len(gate.began) == 2)
            with Worker(other, concurrency=1):
                eventually(lambda: len(began) == 6)
            gate.open()
    assert not set(began) & set(gate.began)


# -- messages that can't be run


def signature(name: str, *args: Arg, **fields: Any) -> bytes:
    uuid = f"task_{uuid4()}"
    return encode(Signature(UUID=uuid, Name=name, RoutingKey=QUEUE, Args=args, Headers={}).evolve(**fields))


def test_bad_messages_stop_nobody(app: App, broker: Broker) -> None:
    add = app.task(lambda a, b: a + b, name="add")
    typed = app.task(lambda a: a, name="typed")
    mistyped = b'{"UUID":"task_m","Name":"typed","Args":[{"Name":"","Type":"int8","Value":"x"}]}'
    broker.push(b"not json", b"[]", b'{"UUID":1}', mistyped)
    with Worker(app, concurrency=2):
        assert add.delay(1, 2).get(timeout=10) == 3
        eventually(lambda: len(broker.dead()) == 3)
        result = app.result("task_m")
        assert result.wait(timeout=10) == "FAILURE"
        assert result.error.startswith("Reflect task args error: ")
        assert typed.delay(5).get(timeout=10) == 5
    letters = {letter.body: letter.reason for letter in broker.dead()}
    assert set(letters) == {b"not json", b"[]", b'{"UUID":1}'}
    assert all(reason.startswith("undecodable: ") for reason in letters.values())
    assert not broker.channel.pending(QUEUE)


def test_a_name_that_another_worker_knows(app: App, url: str) -> None:
    """The message waits for a worker that has registered the task, even if that worker starts later."""
    app.task(lambda: None, name="known")
    with App(url, url) as other, Worker(app, concurrency=2):
        elsewhere = other.task(lambda a: a + 1, name="elsewhere")
        result = elsewhere.delay(1)
        time.sleep(0.3)
        assert result.state == "PENDING"
        with Worker(other, concurrency=2):
            assert result.get(timeout=60) == 2


def test_a_name_that_nobody_needs_is_dropped(app: App, broker: Broker) -> None:
    nothing = app.task(lambda: None, name="nothing")
    broker.push(signature("nobody", IgnoreWhenTaskNotRegistered=True))
    with Worker(app, concurrency=1):
        nothing.delay().get(timeout=10)
    assert not broker.channel.pending(QUEUE)
    assert not broker.dead()


def test_a_name_that_nobody_has_is_a_dead_letter_in_the_end(url: str, broker: Broker) -> None:
    with App(url, url, unregistered_max_age=0.3) as app, Worker(app, concurrency=1):
        with pytest.raises(TaskFailed, match="no worker has registered the task nobody within 300 ms"):
            app.remote("nobody").delay().get(timeout=10)
        (letter,) = broker.dead()
    assert "nobody" in letter.reason


def test_error_callbacks_of_an_unregistered_task_are_sent(url: str) -> None:
    with App(url, url, unregistered_max_age=0.3) as app:
        heard: list[str] = []
        handled: list[str] = []
        app.on_error(lambda sig, exc: handled.append(f"{sig.Name}: {exc.error}"))
        app.task(lambda error: heard.append(error), name="hear")
        error = "no worker has registered the task nobody within 300 ms"
        with Worker(app, concurrency=1):
            app.remote("nobody").s().on_error(app.tasks["hear"].s()).delay()
            assert eventually(lambda: heard) == [error]
        assert handled == [f"nobody: {error}"]


@pytest.mark.parametrize(
    ("body", "uuid"),
    [
        (b'{"UUID": "task_bad", "Name": 3}', "task_bad"),
        (b'{"UUID": 3, "Name": 3}', None),
        (b'["task_bad"]', None),
        (b"\xff", None),
    ],
)
def test_a_caller_sees_that_its_message_is_undecodable(
    url: str, broker: Broker, body: bytes, uuid: str | None
) -> None:
    with App(url, url) as app, Worker(app, concurrency=1):
        broker.push(body)
        if uuid:
            with pytest.raises(TaskFailed, match=r"cannot be decoded: .*Signature\.Name of type string"):
                app.result(uuid).get(timeout=10)
        eventually(broker.dead)


def test_a_result_outlives_an_undecodable_message(app: App, broker: Broker, gate: Gate) -> None:
    gate.open()
    with Worker(app, concurrency=1):
        result = gate.task.delay("a")
        assert result.get(timeout=10) == "a"
        broker.push(json.dumps({"UUID": result.uuid, "Name": 3}).encode())
        eventually(broker.dead)
    assert app.result(result.uuid).state == "SUCCESS"


def test_a_result_that_is_there_outlives_the_dead_letter_of_a_duplicate(url: str, broker: Broker) -> None:
    with App(url, url, unregistered_max_age=0.3) as app:

        def three() -> int:
            return 3

        result = app.task(three, name="elsewhere").delay()
        (body,) = broker.channel.pending(QUEUE)
        with Worker(app, concurrency=1):
            assert result.get(timeout=10) == 3
    broker.push(body)
    with App(url, url, unregistered_max_age=0.3) as app, Worker(app, concurrency=1):
        eventually(broker.dead)
        assert app.result(result.uuid).state == "SUCCESS"


def test_a_name_is_warned_about_once_a_minute(
    url: str, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.push(*(signature("nobody", arg("int64", number)) for number in range(5)))
    with App(url, url, unregistered_max_age=0.3) as app, Worker(app, concurrency=1):
        eventually(lambda: len(broker.dead()) == 5)
    warnings = [
        r.getMessage()
        for r in caplog.records
        if r.levelname == "WARNING" and "not registered" in r.getMessage()
    ]
    assert len(warnings) == 1
    assert (
        "task 'nobody' is not registered in this worker: 1 delivery from queue machinery_tasks; its"
        in warnings[0]
    )
    assert sum(r.levelname == "ERROR" and "dead letter" in r.getMessage() for r in caplog.records) == 5


def test_messages_set_aside_are_not_lost_with_their_worker(app: App, broker: Broker, url: str) -> None:
    broker.push(*(signature("elsewhere", arg("int64", 1)) for _ in range(20)))
    with Worker(app, concurrency=1):
        time.sleep(0.5)
    ran: list[int] = []
    with App(url, url) as other:
        other.task(lambda a: ran.append(a), name="elsewhere")
        with Worker(other, concurrency=2):
            eventually(lambda: len(ran) == 20)


# -- twice there


def twins(app: App, url: str) -> Signature:
    """Publish two messages of one UUID, both lost by a dead worker."""
    sig = Signature(UUID="task_twin", Name="gated", RoutingKey=QUEUE, Args=(Arg(Type="string", Value="x"),))
    dead = Tap(open_connection(url), (QUEUE,), 2)
    # Not the same bytes: the broker would count two losses of one message and isolate it.
    dead.publish(QUEUE, encode(sig), encode(msgspec.structs.replace(sig, Immutable=True)))
    dead.take(2)
    other = open_connection(url)
    assert other.channel().recover(dead.name, [QUEUE], crashed=True) == 2
    dead.close()
    other.release()
    return sig


def test_twins_do_not_run_side_by_side(
    app: App, gate: Gate, broker: Broker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearmesh.worker.intake.GIVE_BACK_INTERVAL_S", 60.0)
    sig = twins(app, url)
    with Worker(app, concurrency=4) as worker:
        eventually(lambda: gate.began)
        eventually(lambda: len(broker.channel.held(worker.consumer, [QUEUE])) == 2)
        eventually(lambda: app.result(sig.UUID).state == "STARTED")
        time.sleep(0.2)  # time for the state to change, which it must not
        assert app.result(sig.UUID).state == "STARTED", "the state is not RECEIVED again"
        began = time.monotonic()
        gate.open()
        eventually(lambda: not broker.channel.held(worker.consumer, [QUEUE]))
        assert time.monotonic() - began < 30, "the second copy waits for the first, not for a fixed time"
    assert gate.began == ["x"], "the second copy finds the result"
    assert broker.names() == []


def test_a_twin_that_waits_goes_back(app: App, gate: Gate, broker: Broker, url: str) -> None:
    twins(app, url)
    with Worker(app, concurrency=4) as worker:
        eventually(lambda: len(broker.channel.held(worker.consumer, [QUEUE])) == 2)
        eventually(lambda: gate.began)
        gate.open_when_stopping(worker)
    assert gate.began == ["x"]
    assert broker.names() == ["x"], "the one that had not begun"


def test_isolated_twins_are_both_done_with(app: App, broker: Broker, url: str) -> None:
    """An isolated message does not wait for a copy of itself that waits for it."""
    runs: list[str] = []
    app.task(runs.append, name="gated")
    body = encode(twins(app, url))
    dead = Tap(open_connection(url), (QUEUE,), 4)
    broker.push(body, body)
    ids = [message.delivery.id for message in dead.take(4)]
    broker.channel.recover(dead.name, [QUEUE], crashed=True, running=ids)
    dead.close()
    with Worker(app, concurrency=4):

        def nothing_left() -> bool:  # they go back and forth, perhaps between the two numbers: hence twice
            counts = [broker.channel.count(QUEUE) for _ in range(2)]
            return not any(count.pending or count.held for count in counts)

        eventually(lambda: app.result("task_twin").state == "SUCCESS" and nothing_left())
    assert broker.names() == []
    assert set(runs) == {"x"}


# -- queues


def test_several_queues(app: App) -> None:
    double = app.task(lambda a: 2 * a, name="double")
    with Worker(app, ["one", "two", "one"], concurrency=2) as worker:
        assert worker.queues == ("one", "two")
        results = [double.apply_async((n,), queue=("one", "two")[n % 2]) for n in range(20)]
        assert [result.get(timeout=10) for result in results] == [2 * n for n in range(20)]
        elsewhere = double.delay(1)
        time.sleep(0.2)
        assert elsewhere.state == "PENDING", "no worker reads the default queue"


def test_a_full_worker_leaves_its_other_queue_to_others(app: App, gate: Gate) -> None:
    """It waited on both queues while it had room; a new message must go to the worker that has room now."""
    echo = app.task(lambda a: a, name="echo")
    with Worker(app, ["one", "two"], concurrency=1):
        for _ in range(3):  # it has seen that tasks take a while
            app.task(lambda: time.sleep(0.1), name=f"nap {uuid4()}").apply_async(queue="one").get(timeout=10)
        with Worker(app, ["two"], concurrency=1):
            running = gate.task.apply_async(("long",), queue="one")
            eventually(lambda: gate.began)
            for number in range(10):
                assert echo.apply_async((number,), queue="two").get(timeout=20) == number
            gate.open()
            assert running.get(timeout=10) == "long"


# -- the broker away


def test_a_broker_that_is_away_at_the_start() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with App(url, "null") as app:
        app.task(lambda: None, name="nothing")
        worker = Worker(app, concurrency=1)
        with pytest.raises(GearmeshError, match=r"was not reached in 0\.2 s"):
            worker.start(timeout=0.2)
        began = time.monotonic()
        worker.stop(1)
        assert time.monotonic() - began < 20


def test_a_broker_that_goes_and_comes(make_redis: Callable[..., RedisServer]) -> None:
    server = make_redis(aof="always")
    with App(server.url, server.url, lease=3.0) as app:
        gate = Gate(app)
        echo = app.task(lambda a: a, name="echo")
        with Worker(app, concurrency=2):
            running = gate.task.delay("through")
            eventually(lambda: gate.began)
            server.kill()
            gate.open()
            time.sleep(0.3)
            server.start()
            assert running.get(timeout=20) == "through"
            assert echo.delay(1).get(timeout=20) == 1
    assert gate.began == ["through"]


def test_a_consumer_leaves_nothing_behind(redis_url: str) -> None:
    with App(redis_url, redis_url) as app, redis.Redis.from_url(redis_url) as server:
        app.task(lambda: None, name="nothing")
        with Worker(app, concurrency=1) as worker:
            app.tasks["nothing"].delay().get(timeout=10)
            assert server.hkeys(QueueKeys(QUEUE).consumers) == [worker.consumer.encode()]
        left = {key for key in server.keys("gearmesh:*") if b":sent:" not in key}  # type: ignore[union-attr]
        assert left == set()


def test_queues_in_strict_order(redis_url: str) -> None:
    app = App(broker=redis_url, backend=redis_url)
    ran: list[str] = []

    @app.task
    def note(queue: str) -> None:
        ran.append(queue)

    for _ in range(5):
        for queue in ("low", "high"):
            last = note.apply_async([queue], queue=queue)
        note.apply_async(["high"], queue="high", priority=5)
    with Worker(app, ["high", "low"], 1, queue_order="strict"):
        note.apply_async(["end"], queue="low").get(timeout=20)
    assert last.ready()
    assert ran == ["high"] * 10 + ["low"] * 5 + ["end"]
    app.close()


# -- stopping


def test_a_stopping_worker_logs_the_tasks_it_waits_for(
    app: App, gate: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearmesh.worker.worker.STOPPING_INTERVAL_S", 0.1)
    caplog.set_level("INFO", "gearmesh.worker")
    worker = Worker(app, concurrency=2).start()
    result = gate.task.delay("a")
    eventually(lambda: gate.began)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()

    def lines() -> list[str]:
        return [message for message in caplog.messages if message.startswith("waiting up to 30 s")]

    first, second, *_ = eventually(lambda: found if len(found := lines()) > 1 else None)
    assert f"for 1 running task: gated {result.uuid[:13]} (" in first
    assert first.rpartition("(")[2] != second.rpartition("(")[2]
    gate.open()
    stopping.join(20)
    assert "finished 1 of 1 running task" in caplog.messages


def test_a_stopping_worker_logs_the_number_of_tasks_it_returns(
    app: App, gate: Gate, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gearmesh.worker")
    worker = Worker(app, concurrency=1).start()
    gate.task.delay("a")
    eventually(lambda: gate.began)
    assert not worker.stop(0.2)
    assert caplog.messages[-2:] == ["returned 1 unfinished task to its queue", "finished 0 of 1 running task"]
    assert broker.names() == ["a"]


def test_a_stopping_worker_logs_the_failures_that_have_no_line_yet(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    def bad() -> None:
        raise KeyError("id")

    task = app.task(bad, name="bad")
    with Worker(app, concurrency=1, task_log_limit=1):
        for result in [task.delay() for _ in range(3)]:
            assert result.wait(timeout=10) == "FAILURE"
    failures = [r for r in caplog.records if r.levelname == "ERROR"]
    lines = sum("failed after" in r.getMessage() for r in failures)
    counts = sum(
        vars(r)["_details"]["count"] for r in failures if "more failed with KeyError" in r.getMessage()
    )
    assert lines + counts == 3


def test_a_name_that_is_nearly_registered_is_pointed_out(
    url: str, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.push(signature("shop.reports.tick"))
    with App(url, url) as app:
        app.task(lambda: None, name="tick")
        with Worker(app, concurrency=1):
            eventually(lambda: "not registered" in caplog.text)
    assert (
        "task 'shop.reports.tick' is not registered in this worker (but 'tick' is; @app.task(name=…)"
        in caplog.text
    )
