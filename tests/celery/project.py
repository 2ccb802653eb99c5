"""An ordinary Celery project, for the workers and clients of these tests. Environment variables name its servers."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Any

import redis
from celery import Celery, Task, group

from gearmesh.celery import GoTask, configure
from gearmesh.types import Int32, Json

#: The queue of the peer's workers, and the tasks that they run.
GO_QUEUE = "go_tasks"
GO_TASKS: dict[str, Any] = {
    **dict.fromkeys(
        ("multiply", "noop", "sum_ints", "sum_floats", "concat", "two", "fail", "panic"), GO_QUEUE
    ),
    **dict.fromkeys(("with_ctx", "echo_string", "echo_float64", "echo_bytes", "sleep", "on_error"), GO_QUEUE),
    "echo_uint8": GoTask(GO_QUEUE, ("uint8",)),
    "echo_float32": {"queue": GO_QUEUE, "args": ["float32"]},
    "retry_later": GoTask(GO_QUEUE, ("string", "int64")),
}


def make_app(url: str, backend: str = "", **settings: Any) -> Celery:
    """The project's app on a broker."""
    app = Celery("project", set_as_current=False)
    app.conf.update(
        task_acks_late=bool(os.environ.get("PROJECT_LATE")),
        task_reject_on_worker_lost=bool(os.environ.get("PROJECT_LATE")),
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        accept_content=["json", "msgpack"],
        worker_send_task_events=True,
        task_send_sent_event=True,
        **{**json.loads(os.environ.get("PROJECT_SETTINGS", "{}")), **settings},
    )
    configure(
        app,
        broker=url,
        backend=backend or url,
        go_tasks=GO_TASKS,
        queue="celery",
        lease=float(os.environ.get("PROJECT_LEASE", "30")),
    )
    add_tasks(app)
    return app


def add_tasks(app: Celery) -> None:
    """Give an app the project's tasks."""
    task = partial(app.task, shared=False)

    @task(name="add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    @task(name="total")
    def total(numbers: list[Any]) -> Any:
        return sum(numbers)

    @task(name="echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @task(name="same")
    def same(value: Any) -> Any:
        return value

    @task(name="none")
    def none() -> None:
        return None

    @task(name="half")
    def half(number: int) -> Int32:
        return number // 2

    @task(name="pair")
    def pair(number: int) -> tuple[int, str]:
        return number, str(number)

    @task(name="document")
    def document(number: int) -> Json[dict[str, int]]:
        return {"number": number}

    @task(name="broken")
    def broken(text: str) -> None:
        raise ValueError(text)

    @task(name="silent")
    def silent() -> None:
        raise KeyError

    @task(name="flaky", bind=True, max_retries=5)
    def flaky(self: Task, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(countdown=0.05)
        return int(self.request.retries)

    @task(name="replaced", bind=True)
    def replaced(self: Task, x: int) -> Any:
        raise self.replace(add.s(x, 1000))

    @task(name="replaced_by_group", bind=True)
    def replaced_by_group(self: Task, x: int) -> Any:
        raise self.replace(group(add.s(x, 1), add.s(x, 2)))

    @task(name="told", bind=True)
    def told(self: Task) -> dict[str, Any]:
        return {"headers": self.request.headers or {}, "id": self.request.id, "root": self.request.root_id}

    @task(name="says", bind=True)
    def says(self: Task, seconds: float) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3})
        time.sleep(seconds)
        return "said"

    @task(name="nap")
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @task(name="count", ignore_result=True)
    def count(url: str, key: str, seconds: float = 0.0) -> None:
        time.sleep(seconds)
        with redis.Redis.from_url(url) as client:
            client.incr(key)

    @task(name="note", ignore_result=True)
    def note(url: str, key: str, *values: Any) -> None:
        with redis.Redis.from_url(url) as client:
            client.rpush(key, repr(values))

    @task(name="mark", ignore_result=True)
    def mark(url: str, key: str, number: int, seconds: float) -> None:
        with redis.Redis.from_url(url) as client:
            time.sleep(seconds)
            client.sadd(key, number)

    @task(name="counted")
    def counted(numbers: list[int], url: str, key: str) -> int:
        with redis.Redis.from_url(url) as client:
            client.incr(key)
        return sum(numbers)

    @task(name="counted_go")
    def counted_go(url: str, key: str, *numbers: int) -> int:
        with redis.Redis.from_url(url) as client:
            client.incr(key)
        return sum(numbers)

    @task(name="note_last", ignore_result=True)
    def note_last(*given: Any) -> None:
        *values, url, key = given
        with redis.Redis.from_url(url) as client:
            client.rpush(key, repr(tuple(values)))

    @task(name="document_untyped")
    def document_untyped() -> Any:
        return {"a": 1}

    @task(name="noted_failure")
    def noted_failure(request: Any, exc: Any, traceback: Any, url: str, key: str) -> None:
        with redis.Redis.from_url(url) as client:
            client.rpush(key, f"{request.id} {type(exc).__name__}: {getattr(exc, 'error', exc)}")


if url := os.environ.get("PROJECT_BROKER"):
    app = make_app(url, os.environ.get("PROJECT_BACKEND", ""))
