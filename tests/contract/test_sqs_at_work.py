"""Whole workers on SQS: long tasks, poison, FIFO queues, ETAs, redrive, sizes, and the number of requests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import kombu
import pytest
from botocore.awsrequest import AWSResponse
from click.testing import CliRunner

from gearmesh import App, RetryLater, TaskFailed, group
from gearmesh.cli import main
from gearmesh.config import SQSConfig
from gearmesh.errors import GearmeshError, LocalProtocolError
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.transports.sqs import commit_engine, message
from gearmesh.worker import Worker

from .sqs_queues import Queues


@pytest.fixture
def make_app(sqs_queues: Queues, redis_url: str) -> Iterator[Callable[..., App]]:
    apps: list[App] = []

    def make(queue: str, **sqs: Any) -> App:
        settings = {"receive_wait_time_seconds": 1} | sqs
        app = App(
            sqs_queues.server.url,
            backend=redis_url,
            default_queue=queue,
            sqs=settings.pop("config", None) or SQSConfig(**settings),
        )
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def test_a_task_that_runs_five_times_its_visibility_timeout_runs_once(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    queue = sqs_queues.make(VisibilityTimeout=2)
    app = make_app(queue)
    ran: list[float] = []

    @app.task
    def slow() -> float:
        ran.append(time.monotonic())
        time.sleep(10)
        return 1.5

    with Worker(app, concurrency=2), Worker(app, concurrency=2):
        assert slow.delay().get(timeout=40) == 1.5
        eventually(lambda: sqs_queues.counts(queue) == (0, 0, 0))
    assert len(ran) == 1


def test_good_messages_finish_among_as_many_poisonous_ones(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    """All good ones finish, no worker wedges, and the poison is among the dead letters."""
    queue = sqs_queues.make(max_receives=3, VisibilityTimeout=30)
    app = make_app(queue)
    count = 500
    done: set[int] = set()

    @app.task
    def good(number: int) -> None:
        done.add(number)

    producer = sqs_queues.client()
    entries = []
    for n in range(count):
        odd = b"garbage %d" % n if n % 2 else b'{"UUID":"task_%d","Name":"nobody"}' % n
        entries.append(odd.decode())
        entries.append(
            json.dumps({"UUID": f"task_good{n}", "Name": "good", "Args": [{"Type": "int64", "Value": n}]})
        )
    for start in range(0, len(entries), 10):
        batch = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(entries[start : start + 10])]
        producer.send_message_batch(QueueUrl=sqs_queues.url(queue), Entries=batch)
    with Worker(app, concurrency=10):
        eventually(lambda: len(done) == count)
        eventually(lambda: sqs_queues.counts(queue) == (0, 0, 0))
    assert done == set(range(count))
    dead = [each["Body"] for each in sqs_queues.receive(f"{queue}-dead")]
    assert sorted(dead) == sorted(entries[::2])


def test_a_fifo_task_with_two_retries_runs_three_times_in_order(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    queue = sqs_queues.make(fifo=True)
    app = make_app(queue)
    ran: list[tuple[str, int]] = []

    @app.task(message_group="red", retry_count=2)
    def failing() -> None:
        ran.append(("failing", sum(name == "failing" for name, _ in ran)))
        if len([name for name, _ in ran if name == "failing"]) < 3:
            raise ValueError("not yet")

    with Worker(app, concurrency=5):
        failing.delay().get(timeout=30)
    assert ran == [("failing", 0), ("failing", 1), ("failing", 2)]
    eventually(lambda: sqs_queues.counts(queue) == (0, 0, 0))


def test_tasks_of_a_group_run_one_after_the_other_and_groups_beside_each_other(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    queue = sqs_queues.make(fifo=True)
    app = make_app(queue)
    running: dict[str, int] = {"red": 0, "blue": 0}
    ran: dict[str, list[int]] = {"red": [], "blue": []}
    both: list[bool] = []

    @app.task
    def step(group: str, number: int) -> None:
        running[group] += 1
        assert running[group] == 1
        both.append(all(running.values()))
        time.sleep(0.02)
        ran[group].append(number)
        running[group] -= 1

    for n in range(15):
        for name in ran:
            step.apply_async((name, n), message_group=name)
    with Worker(app, concurrency=8):
        eventually(lambda: all(len(each) == 15 for each in ran.values()))
    assert ran == {"red": list(range(15)), "blue": list(range(15))}
    assert any(both), "two groups never ran at the same time"


def test_a_message_without_a_group_is_refused_before_anything_is_written(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    app = make_app("no-such-queue.fifo")

    @app.task
    def step() -> None: ...

    with pytest.raises(
        LocalProtocolError, match=r"'step'.*no message group.*no-such-queue\.fifo.*message_group="
    ):
        step.delay()


def test_a_message_that_is_too_large_is_refused(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    queue = sqs_queues.make()
    app = make_app(queue)

    @app.task
    def keep(text: str) -> None: ...

    keep.delay("x" * 1000)
    with pytest.raises(
        GearmeshError, match=r"'keep'.*has 300,\d\d\d bytes.*takes 262,144.*MaximumMessageSize.*S3"
    ):
        keep.delay("x" * 300_000)
    with pytest.raises(LocalProtocolError, match="SQS takes 1,048,576"):
        keep.delay("x" * 1_100_000)
    assert sqs_queues.counts(queue) == (1, 0, 0)


def test_an_eta_beyond_the_longest_delay_runs_once_and_in_time(
    sqs_queues: Queues, make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds stand for the 900 that SQS delays a message."""
    for module in (message, commit_engine):
        monkeypatch.setattr(module, "MAX_DELAY_S", 2)
    delays: list[int] = []
    copy_of = commit_engine._copy_of

    def note_delay(held: Any, delay: int) -> Any:
        delays.append(delay)
        return copy_of(held, delay)

    monkeypatch.setattr(commit_engine, "_copy_of", note_delay)
    queue = sqs_queues.make(max_receives=2)
    app = make_app(queue)
    ran: list[float] = []

    @app.task
    def late() -> None:
        ran.append(time.time())

    due = time.time() + 7
    with Worker(app, concurrency=2):
        late.apply_async(countdown=7).get(timeout=30)
        eventually(lambda: sqs_queues.counts(queue) == (0, 0, 0))
    assert len(ran) == 1
    assert ran[0] >= due - 0.1
    assert set(delays[:-1]) <= {2}
    assert 2 + sum(delays) <= 8, "SQS counts whole seconds; how late it is beside them is a busy machine's"


def test_delayed_messages_are_counted(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    queue = sqs_queues.make()
    app = make_app(queue)

    @app.task
    def later() -> None: ...

    ids = [later.apply_async(countdown=600).id for _ in range(2)]
    call = partial(CliRunner().invoke, main)
    place = ["--broker", sqs_queues.server.url]
    (row,) = json.loads(call(["queues", queue, *place, "--json"]).stdout)
    assert [row[name] for name in ("pending", "held", "delayed")] == [0, 0, 2]
    head, counts = (line.split() for line in call(["queues", queue, *place]).stdout.splitlines())
    assert counts[head.index("delayed")] == "2"
    words = ["result", ids[0], *place, "--queue", queue, "--backend", app.config.backend]
    assert (
        "0 messages that workers hold, or that are hidden for a while, and 2 delayed messages"
        in call(words).stderr
    )
    assert "'gearmesh queues' counts them" in call(["delayed", *place]).stderr


def test_an_eta_on_a_fifo_queue_is_kept(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    queue = sqs_queues.make(fifo=True)
    app = make_app(queue)
    ran: list[float] = []

    @app.task(message_group="red")
    def late() -> None:
        ran.append(time.time())

    due = time.time() + 3
    with Worker(app, concurrency=2):
        late.apply_async(countdown=3).get(timeout=30)
    assert len(ran) == 1
    assert ran[0] >= due - 0.1


def test_a_failed_message_is_left_to_the_redrive_policy(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    queue = sqs_queues.make(max_receives=2, VisibilityTimeout=1)
    app = make_app(queue)
    ran: list[int] = []

    @app.task(keep_on_error=True)
    def failing() -> None:
        ran.append(1)
        raise ValueError("always")

    with Worker(app, concurrency=2):
        result = failing.delay()
        with pytest.raises(TaskFailed, match="always"):
            result.get(timeout=20)
        eventually(lambda: sqs_queues.counts(f"{queue}-dead")[0] == 1)
    assert len(ran) == 2
    assert sqs_queues.counts(queue) == (0, 0, 0)


def test_a_retry_carries_no_receipt_handle(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    queue = sqs_queues.make()
    app = make_app(queue)
    seen: list[bytes] = []

    @app.task
    def once() -> None:
        if not seen:
            seen.append(b"x")
            raise RetryLater(1)

    sqs_queues.send(queue, b'{"UUID":"task_x","Name":"once","SQSReceiptHandle":"old","RetryCount":1}')
    with Worker(app, concurrency=1):
        eventually(lambda: bool(seen))
        eventually(lambda: sqs_queues.counts(queue) == (0, 0, 1))
    time.sleep(1.1)
    (again,) = sqs_queues.receive(queue)
    assert json.loads(again["Body"])["SQSReceiptHandle"] == ""


def test_under_load_a_task_costs_a_third_of_a_request(sqs_queues: Queues, redis_url: str) -> None:
    queue = sqs_queues.make()
    settings = sqs_queues.counting_settings()
    count = 1000
    app = App(sqs_queues.server.url, backend=redis_url, default_queue=queue, sqs=settings)

    @app.task
    def noop() -> None: ...

    with app:
        group(noop.s() for _ in range(count)).delay()
        with Worker(app, concurrency=10):
            eventually(lambda: sqs_queues.counts(queue) == (0, 0, 0))
        of_work = {
            name: sqs_queues.requests[name]
            for name in (
                "SendMessageBatch",
                "ReceiveMessage",
                "DeleteMessageBatch",
                "ChangeMessageVisibilityBatch",
            )
        }
    assert sum(sqs_queues.requests.values()) / count <= 0.35, of_work


def test_an_idle_worker_asks_180_times_an_hour(sqs_queues: Queues, redis_url: str) -> None:
    queue = sqs_queues.make()
    app = App(
        sqs_queues.server.url, backend=redis_url, default_queue=queue, sqs=sqs_queues.counting_settings()
    )
    with app, Worker(app, concurrency=4):
        eventually(lambda: sqs_queues.requests["ReceiveMessage"] == 1)
        time.sleep(3)
        assert sqs_queues.requests == {"GetQueueAttributes": 1, "ReceiveMessage": 1}, (
            "one request waits for 20 s"
        )


def test_an_answer_that_leaves_messages_out_is_no_success(
    sqs_queues: Queues, make_app: Callable[..., App]
) -> None:
    """SQS may have these messages or not, so the publisher sends them again."""
    queue = sqs_queues.make()
    client = sqs_queues.client()
    hollow = [(AWSResponse("", 200, {}, None), {"ResponseMetadata": {"HTTPStatusCode": 200}})]

    def swallow(model: Any, **kwargs: Any) -> Any:
        return hollow.pop() if model.name == "SendMessageBatch" and hollow else None

    client.meta.events.register("before-call.sqs", swallow)
    app = make_app(queue, client=client)
    app.publish_many(app.remote("add", "int64").s(n) for n in range(10))
    assert not hollow
    assert len(sqs_queues.receive(queue)) == 10


def test_a_stop_waits_for_no_request(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    queue = sqs_queues.make()
    app = make_app(queue, receive_wait_time_seconds=20)
    worker = Worker(app, concurrency=2)
    worker.start()
    eventually(lambda: worker._intake.ready.is_set())
    began = time.monotonic()
    assert worker.stop()
    assert time.monotonic() - began < 15, "its long poll would take 20 s"


def test_a_queue_that_is_missing_is_named(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    app = make_app("no-such-queue")

    @app.task
    def noop() -> None: ...

    with pytest.raises(
        GearmeshError, match=r"no queue 'no-such-queue'.*create-queue.*set sqs\.create_queues$"
    ):
        noop.delay()


def test_a_worker_waits_until_its_queue_is_there(sqs_queues: Queues, make_app: Callable[..., App]) -> None:
    name = sqs_queues.make()
    sqs_queues.boto.delete_queue(QueueUrl=sqs_queues.url(name))
    app = make_app(name)

    @app.task
    def one() -> int:
        return 1

    worker = Worker(app, concurrency=1)
    with suppress(GearmeshError):
        worker.start(timeout=0.5)
    sqs_queues.boto.create_queue(QueueName=name)
    assert one.delay().get(timeout=30) == 1
    worker.stop()


@pytest.fixture
def channel(sqs_queues: Queues) -> Iterator[Callable[..., Any]]:
    opened: list[kombu.Connection] = []

    def open_(**options: Any) -> Any:
        settings = SQSConfig(receive_wait_time_seconds=1)
        opened.append(open_connection(sqs_queues.server.url, options={"sqs": settings} | options))
        return opened[-1].channel()

    yield open_
    for each in opened:
        each.release()


def test_a_delivery_whose_visibility_timeout_is_over_is_lost(
    sqs_queues: Queues, channel: Callable[..., Any]
) -> None:
    queue = sqs_queues.make()
    here = channel()
    sqs_queues.send(queue, b"x")
    came = here.basic_get(queue)
    held = here.unacked.held[came.delivery.id]
    held.visible_at = time.monotonic()  # as after a long stop of this process
    assert here.is_lost(Settle(came.delivery))
    assert here.commit([Commit(settle=Settle(came.delivery))]) == ["lost"]
    eventually(lambda: not here.unacked.held)
    assert here.unacked.losses == 1


def test_a_dead_letter_without_a_redrive_policy_is_hidden(
    sqs_queues: Queues, channel: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    queue = sqs_queues.make()
    here = channel()
    sqs_queues.send(queue, b"x")
    came = here.basic_get(queue)
    assert here.commit([Commit(settle=Settle(came.delivery, "dead", "no"))]) == ["done"]
    assert sqs_queues.counts(queue) == (0, 1, 0)
    assert "no redrive policy" in caplog.text


def test_a_dead_letter_of_a_fifo_queue_without_a_redrive_policy_keeps_no_other_back(
    sqs_queues: Queues, channel: Callable[..., Any]
) -> None:
    queue = sqs_queues.make(fifo=True)
    here = channel()
    for n in range(2):
        sqs_queues.send(queue, b"%d" % n, MessageGroupId="red", MessageDeduplicationId=str(n))
    came = here.basic_get(queue)
    assert here.commit([Commit(settle=Settle(came.delivery, "dead", "no"))]) == ["done"]
    bodies = {each.body for each in (here.basic_get(queue), here.basic_get(queue))}
    assert bodies == {b"0", b"1"}, "the next of the group, and the first one in a group of its own"


def test_a_return_is_no_failure_to_the_redrive_policy(
    sqs_queues: Queues, channel: Callable[..., Any]
) -> None:
    queue = sqs_queues.make(max_receives=1)
    here = channel()
    sqs_queues.send(queue, b"x")
    for _ in range(3):
        came = eventually(lambda: here.basic_get(queue))
        assert here.commit([Commit(settle=Settle(came.delivery, "head"))]) == ["done"]
    assert sqs_queues.counts(f"{queue}-dead") == (0, 0, 0)
    came = eventually(lambda: here.basic_get(queue))
    assert (came.body, came.delivery.republished) == (b"x", True)


def test_messages_for_a_fifo_queue_are_sent_once_when_a_batch_is_repeated(
    sqs_queues: Queues, channel: Callable[..., Any]
) -> None:
    queue = sqs_queues.make(fifo=True)
    body = json.dumps({"UUID": "task_1", "Name": "x", "BrokerMessageGroupId": "red"}).encode()
    for _ in range(2):
        channel().commit([Commit(publishes=(Publish(queue, body),))])
    assert sqs_queues.counts(queue) == (1, 0, 0)
