"""A shadow run beside a worker that stands in for Go: it finds planted differences and touches nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from click.testing import CliRunner

from gearmesh import App
from gearmesh.cli import main
from gearmesh.config import Config, SQSConfig
from gearmesh.errors import ConfigError
from gearmesh.inspection.broker import channel_to
from gearmesh.shadow import SHADOW_QUEUE, copy_calls
from gearmesh.shadow.comparison import Outcome, compare
from gearmesh.shadow.copies import is_sampled
from gearmesh.shadow.cutover import Move, cutover_steps, own_queue
from gearmesh.shadow.report import ShadowReport
from gearmesh.shadow.run import ShadowRun
from gearmesh.shadow.trial import in_shadow
from gearmesh.testing.waiting import eventually
from gearmesh.wire.codec import decode
from gearmesh.wire.state import FAILURE, SUCCESS, TaskState
from gearmesh.wire.types import result
from gearmesh.worker import Worker

CALLS = 2000
#: Calls for which the Python version is wrong.
PLANTED = {5, 700, 1999}


def stand_in(url: str) -> App:
    """The app of the worker that serves the tasks today."""
    app = App(url, url)

    @app.task
    def price(n: int) -> str:
        if n % 100 == 50:
            raise ValueError(f"no price of {n}")
        return f"{3 * n} EUR"

    return app


def python_version(url: str) -> App:
    """The app with the new version. It sends a task and writes a progress, which must stay inside."""
    app = App(url, url)
    other = app.remote("other", "int64")

    @app.task
    def price(n: int) -> str:
        assert in_shadow()
        other.delay(n)
        if n == 5:
            return "0 EUR"
        if n == 700:
            raise RuntimeError("token=s3cret went wrong")
        if n % 100 == 50:
            raise ValueError(f"no price of {n}")
        return f"{3 * n}.00 EUR" if n == 1999 else f"{3 * n} EUR"

    return app


def documents(url: str) -> dict[bytes, Any]:
    """Return all keys of a Redis with their contents, except the records of workers and producers."""
    with closing(redis.Redis.from_url(url)) as client:
        found: dict[bytes, Any] = {}
        for key in client.keys("*"):
            if not key.startswith(b"gearmesh:"):
                kind = client.type(key)
                found[key] = client.get(key) if kind == b"string" else client.lrange(key, 0, -1)
        return found


def test_planted_differences_are_found_and_nothing_is_touched(redis_url: str) -> None:
    go = stand_in(redis_url)
    with App(redis_url, redis_url) as producer, go, Worker(go, concurrency=4, task_log_limit=0):
        copies = copy_calls(producer, ["price"], 1.0)
        price = producer.remote("price", "int64", results="string")
        sent = []
        for start in range(0, CALLS, 500):
            sent += producer.publish_many([price.s(n) for n in range(start, start + 500)])
            eventually(lambda: not copies.waiting)
        eventually(
            lambda: all(state and state.final for state in producer.states([each.uuid for each in sent]))
        )
        copies.close()
        assert copies.dropped == 0
        before = documents(redis_url)
        assert len(before.pop(SHADOW_QUEUE.encode())) == CALLS
        report = ShadowReport(threshold=0.99, least=100)
        with python_version(redis_url) as app:
            with ShadowRun(app, ["price"], report) as run:
                run.wait(CALLS, 100)
            assert app.config.broker == redis_url
        assert documents(redis_url) == before
    found = report.tasks["price"]
    assert (found.compared, found.agreed, found.differed, found.crashed) == (CALLS, CALLS - 3, 2, 1)
    assert found.unanswered == 0
    whys = dict(found.differences)
    assert {whys[sent[n].uuid] for n in PLANTED} == {
        "result 1 is '0 EUR' in Python, and '15 EUR' in the worker",
        "Python raised RuntimeError: token=*** went wrong; the worker succeeded",
        "result 1 is '5997.00 EUR' in Python, and '5997 EUR' in the worker",
    }
    assert report.ready("price")


def test_a_long_task_is_not_read_all_the_time(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads cost on DynamoDB, and disturb other readers on RabbitMQ."""
    go = App(redis_url, redis_url)

    @go.task
    def price(n: int) -> str:
        time.sleep(4)
        return "1 EUR"

    reads: list[int] = []
    read = App.states

    def counted(app: App, uuids: Sequence[str]) -> list[TaskState | None]:
        reads.append(len(uuids))
        return read(app, uuids)

    with App(redis_url, redis_url) as producer, go, Worker(go, concurrency=1, task_log_limit=0):
        copies = copy_calls(producer, ["price"], 1.0)
        producer.send_task("price", [1])
        copies.close()
        report = ShadowReport(threshold=1.0, least=1)
        monkeypatch.setattr(App, "states", counted)
        with python_version(redis_url) as app, ShadowRun(app, ["price"], report) as run:
            run.wait(1, 60)
    assert report.tasks["price"].compared == 1
    assert len(reads) < 100, "in the 4 s of the real run; 180 if it is read every 20 ms"


def test_a_call_that_python_does_not_take_has_crashed(redis_url: str) -> None:
    go = stand_in(redis_url)
    with App(redis_url, redis_url) as producer, go, Worker(go, concurrency=1, task_log_limit=0):
        copies = copy_calls(producer, ["price"], 1.0)
        producer.send_task("price", [1]).get(timeout=30)
        copies.close()
        report = ShadowReport(threshold=1.0, least=1)
        with App(redis_url, redis_url) as app:

            @app.task
            def price(text: str) -> str:
                return text

            with ShadowRun(app, ["price"], report) as run:
                run.wait(1, 60)
    found = report.tasks["price"]
    assert found.crashed == 1
    assert "CallMismatch" in found.differences[0][1]
    assert not report.ready("price")


def test_on_rabbitmq_the_shadow_queue_gets_the_copies_alone(amqp_url: str, redis_url: str) -> None:
    with App(amqp_url, redis_url) as go, App(amqp_url, redis_url) as app:

        @go.task
        def double(n: int) -> int:
            return 2 * n

        app.task(double.plain)
        copies = copy_calls(go, ["double"], 1.0)
        with Worker(go, concurrency=1, task_log_limit=0):
            assert [double.delay(n).get(timeout=30) for n in range(5)] == [0, 2, 4, 6, 8]
            copies.close()
            report = ShadowReport(threshold=1.0, least=5)
            with ShadowRun(app, ["double"], report) as run:
                run.wait(5, 60)
                assert go.send_task("double", [7]).get(timeout=30) == 14
                copies.close()
                run.wait(6, 60)
        assert report.tasks["double"].agreed == 6
        app.send_task("double", [1])  # an app without the hook
        with channel_to(app) as channel:
            assert channel.count("machinery_tasks").pending == 1
            assert channel.count(SHADOW_QUEUE).pending == 0


@pytest.fixture
def project(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with the Python version of a task."""
    name = f"shadowed_{uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(
        f"from gearmesh import App\napp = App({redis_url!r}, {redis_url!r})\n\n"
        "@app.task\ndef double(n: int) -> int:\n    return 2 * n\n\n"
        f"own = App({redis_url!r}, {redis_url!r}, default_queue='images_python')\nown.task(double.plain)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_the_command_says_ready(project: str, redis_url: str) -> None:
    with App(redis_url, redis_url) as go:

        @go.task
        def double(n: int) -> int:
            return n + n

        copies = copy_calls(go, ["double"], 1.0)
        with Worker(go, concurrency=1, task_log_limit=0):
            for n in range(5):
                double.delay(n).get(timeout=30)
        copies.close()
    args = [
        "shadow",
        f"{project}:app",
        "--tasks",
        "double",
        "--count",
        "5",
        "--seconds",
        "60",
        "--least",
        "5",
    ]
    done = CliRunner().invoke(main, [*args, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)["double"]
    assert (report["agreed"], report["compared"], report["ready"]) == (5, 5, True)
    done = CliRunner().invoke(main, [*args[:-4], "--seconds", "0.1"])
    assert done.exit_code == 1
    assert "waiting for copies in gearmesh_shadow" in done.output
    assert "double: no copied call came" in done.output
    done = CliRunner().invoke(main, ["shadow", project, "--tasks", "triple"])
    assert done.exit_code == 2
    assert "a shadow run needs the name of the Go task" in done.output


def test_the_command_tells_the_steps_of_the_cutover(project: str) -> None:
    done = CliRunner().invoke(main, ["cutover", f"{project}:app", "double"])
    assert done.exit_code == 0, done.output
    headings = [line for line in done.output.splitlines() if not line.startswith("  ")]
    assert headings == [
        heading
        for heading, _ in cutover_steps(
            Move("double", "", "machinery_tasks", "python_tasks"), Config(broker="redis://a")
        )
    ]
    assert f"gearmesh worker {project}:app -Q machinery_tasks,python_tasks" in done.output
    assert CliRunner().invoke(main, ["cutover", project, "double"]).output == done.output.replace(
        f"{project}:app", project
    )
    done = CliRunner().invoke(main, ["cutover", f"{project}:app", "triple"])
    assert (done.exit_code, "task is 'triple', expected one of the app's: double" in done.output) == (2, True)


def test_the_queue_of_go_is_asked_for_where_the_app_does_not_say_it(
    project: str,
) -> None:
    words = ["cutover", f"{project}:own", "double"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert (
        "which queue do the Go workers of 'double' read? The app's default queue is 'images_python'"
        in done.output
    )
    done = CliRunner().invoke(main, [*words, "--queue", "images"])
    assert done.exit_code == 0, done.output
    assert f"gearmesh worker {project}:own -Q images,images_python\n" in done.output
    assert f"gearmesh worker {project}:own -Q images_python\n" in done.output
    assert "From Python such a task of Go would go to images_python, which no Go worker reads" in done.output


def steps_on(broker: str, **settings: Any) -> dict[str, str]:
    move = Move("double", "shop:app", "machinery_tasks", "python_tasks")
    return dict(cutover_steps(move, Config(broker=broker, **settings)))


def test_a_default_queue_of_python_s_own_is_the_first_thing_to_mend() -> None:
    own = {"default_queue": "python_tasks"}
    assert "default queue" not in steps_on("amqp://a")["Before"]
    assert "They would run twice" not in steps_on("redis://a", **own)["Before"]
    told = steps_on("amqp://a", **own)["Before"]
    assert (
        "Set default_queue to the DefaultQueue of the Go service, such as machinery_tasks, and write "
        'queue="python_tasks" at the tasks of this app.' in told
    )
    assert (
        "python_tasks is bound with the key 'machinery_task' of Go's default tasks, and gets a copy" in told
    )


def test_the_steps_name_no_command_that_the_broker_refuses() -> None:
    redis, rabbit = steps_on("redis://a"), steps_on("amqp://a")
    sqs = steps_on("https://sqs.eu-central-1.amazonaws.com/123456789012")
    pubsub = steps_on("gcppubsub://project/subscription")
    assert "gearmesh delayed" in redis["4. Drop machinery_tasks"]
    for steps in (rabbit, sqs, pubsub):
        assert "gearmesh delayed" not in "".join(steps.values())
    assert "gearmesh pending" in rabbit["4. Drop machinery_tasks"]
    for steps in (sqs, pubsub):
        assert "gearmesh pending" not in "".join(steps.values())
        assert "gearmesh worker shop:app -Q python_tasks\n" in steps["1. Add Python workers"]
        assert list(steps)[2:4] == ["2. Send it to python_tasks", "3. Take the task out of Go"]
    assert "maxReceiveCount" in sqs["3. Take the task out of Go"]
    assert "'gearmesh queues -A shop:app python_tasks' shows 0" in sqs["To go back before step 3"]
    assert "gearmesh queues" not in "".join(pubsub.values())  # it would show dashes
    assert (
        "num_undelivered_messages of the subscription python_tasks is 0" in pubsub["To go back before step 3"]
    )


def test_the_steps_name_each_queue_that_must_be_made() -> None:
    assert "Make" not in "".join([*steps_on("redis://a").values(), *steps_on("amqp://a").values()])
    sqs = steps_on("https://sqs.eu-central-1.amazonaws.com/123456789012")
    assert "Make the queue gearmesh_shadow." in sqs["Before"]
    assert "Make the queue python_tasks" in sqs["1. Add Python workers"]
    made = steps_on("https://sqs.eu-central-1.amazonaws.com/123456789012", sqs=SQSConfig(create_queues=True))
    assert "Make the queue" not in "".join(made.values())
    assert "The Python workers make the queue python_tasks" in made["1. Add Python workers"]
    pubsub = steps_on("gcppubsub://project/subscription")
    assert "Make the topic gearmesh_shadow and a subscription of it with the same name." in pubsub["Before"]
    assert (
        "Make the topic python_tasks and a subscription of it with the same name"
        in pubsub["1. Add Python workers"]
    )
    assert "one more reason" not in pubsub["Before"]
    own = steps_on("gcppubsub://project/go-workers", default_queue="python_tasks")["Before"]
    assert (
        "one more reason if Go reads the subscription go-workers of the broker's URL: a Python worker" in own
    )


def test_a_fifo_queue_is_followed_by_one() -> None:
    def steps(own: str) -> dict[str, str]:
        config = Config(broker="https://sqs.eu-central-1.amazonaws.com/123456789012")
        return dict(cutover_steps(Move("double", "shop:app", "orders.fifo", own), config))

    fifo, standard = steps("python_tasks.fifo"), steps("python_tasks")
    assert "Make the FIFO queue python_tasks.fifo" in fifo["1. Add Python workers"]
    assert "order holds within python_tasks.fifo only" in fifo["2. Send it to python_tasks.fifo"]
    assert "FIFO" not in fifo["Before"]
    assert "SQS would keep no order there" in standard["Before"]
    assert 'such as queue="python_tasks.fifo"' in standard["Before"]


@pytest.mark.parametrize(
    ("of_task", "of_app", "go_queue", "own"),
    [
        (None, "machinery_tasks", "machinery_tasks", "python_tasks"),
        (None, "shop", "machinery_tasks", "shop"),
        ("pictures", "shop", "machinery_tasks", "pictures"),
        ("images", "shop", "images", "shop"),
        (None, "python_tasks", "python_tasks", "python_tasks_python"),
        (None, "machinery_tasks", "images", "python_tasks"),
        ("machinery_tasks", "shop", "images", "shop"),
        (None, "machinery_tasks", "orders.fifo", "python_tasks.fifo"),
        (None, "machinery_tasks", "python_tasks.fifo", "python_tasks_python.fifo"),
    ],
)
def test_python_gets_a_queue_that_is_not_of_go(
    of_task: str | None, of_app: str, go_queue: str, own: str
) -> None:
    assert own_queue(of_task, of_app, go_queue) == own


def test_the_producer_never_waits_and_never_fails() -> None:
    url = f"memory://{uuid4().hex}"
    with App(url, url) as app:
        copies = copy_calls(app, ["a"], 1.0)
        copies.close()
        b, a = app.remote("b", "int64"), app.remote("a", "int64")
        b.delay(1)
        a.delay(2)
        copies.close()
        with channel_to(app) as channel:
            (copy,) = channel.pending(SHADOW_QUEUE)
    assert decode(copy).Args is not None
    assert decode(copy).Name == "a"


@pytest.mark.parametrize("sample", [0, -1, 1.1])
def test_a_sample_is_a_share(sample: float) -> None:
    with App("memory://x") as app, pytest.raises(ConfigError, match="expected a share above 0"):
        copy_calls(app, ["a"], sample)


def test_a_sample_has_its_size_and_is_the_same_everywhere() -> None:
    uuids = [f"task_{uuid4()}" for _ in range(20_000)]
    share = sum(is_sampled(uuid, 0.1) for uuid in uuids) / len(uuids)
    assert 0.08 < share < 0.12
    assert all(is_sampled(uuid, 0.2) for uuid in uuids if is_sampled(uuid, 0.1))
    assert all(is_sampled(uuid, 1.0) for uuid in uuids)


@pytest.mark.parametrize(
    ("outcome", "state", "expected"),
    [
        ((1,), (1,), ("agreed", "")),
        ((1,), (2,), ("differed", "result 1 is 1 in Python, and 2 in the worker")),
        ((1,), (1, 1), ("differed", "Python gave 1 results, the worker 2")),
        ((1,), (1.0,), ("differed", "result 1 is a int64 in Python, and a float64 in the worker")),
        ("boom", "boom", ("agreed", "")),
        ("boom", "bang", ("differed", "both failed: Python with boom, the worker with bang")),
        ("boom", (1,), ("crashed", "Python raised E: boom; the worker succeeded")),
        ((1,), "password: hunter2", ("differed", "Python succeeded; the worker failed: password: ***")),
    ],
)
def test_outcomes_are_compared(outcome: Any, state: Any, expected: tuple[str, str]) -> None:
    def results(values: tuple[Any, ...]) -> Any:
        return tuple(result("int64" if isinstance(value, int) else "float64", value) for value in values)

    ours = Outcome("u", "t", 0.1, None if isinstance(outcome, str) else results(outcome), str(outcome), "E")
    theirs = (
        TaskState(TaskUUID="u", State=FAILURE, Error=state)
        if isinstance(state, str)
        else TaskState(TaskUUID="u", State=SUCCESS, Results=results(state))
    )
    assert compare(ours, theirs) == expected
