"""Options where a task is declared and where it is called: each works, or the error names the right word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gearmesh import App, Retry, TaskError, TaskFailed
from gearmesh.wire.signature import Signature
from gearmesh.worker import Worker


def add(a: int, b: int = 0) -> int:
    return a + b


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_retries": -1}, "max_retries is -1, expected a whole number, 0 or more"),
        ({"default_retry_delay": "x"}, "default_retry_delay is 'x', expected seconds"),
        ({"default_retry_delay": float("nan")}, "default_retry_delay is nan, expected seconds"),
        ({"retry_backoff": "yes"}, "retry_backoff is 'yes', expected seconds"),
        ({"retry_backoff_max": -1, "retry_backoff": True}, "retry_backoff_max is -1, expected seconds"),
        ({"retry_jitter": "no", "retry_backoff": True}, "retry_jitter is 'no', expected True or False"),
        ({"autoretry_for": "OSError"}, "autoretry_for is 'OSError', expected exception classes"),
        ({"dont_autoretry_for": (5,)}, "dont_autoretry_for is .*expected exception classes"),
        ({"immutable": True}, "immutable belongs to a call"),
        ({"routing_key": "x"}, "no option 'routing_key': name the queue"),
        ({"retry_kwargs": {}}, "no option 'retry_kwargs': use max_retries"),
        ({"ignore_result": True}, "no option 'ignore_result': every task's state is kept"),
        ({"serializer": "pickle"}, "no option 'serializer': messages are Machinery's JSON"),
    ],
)
def test_a_wrong_option_names_the_task_and_itself(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=f"task 'add'.*{message}"):
        App("memory://declared").task(**options)(add)


def test_options_that_restate_the_default_are_accepted() -> None:
    task = App("memory://declared").task(
        ignore_result=False, serializer="json", track_started=True, reject_on_worker_lost=True, acks_late=True,
        store_errors_even_if_ignored=True, typing=True,
    )(add)  # type: ignore[call-overload]  # fmt: skip
    assert task.retry_policy is None


def test_no_pause_between_retries() -> None:
    task = App("memory://declared").task(autoretry_for=(OSError,), default_retry_delay=0)(add)
    assert isinstance(task.retry_policy, Retry)
    assert (task.retry_policy.first, task.max_retries) == (0.001, 3)


@pytest.mark.parametrize("option", [{"uuid": "task_same"}, {"task_id": "task_same"}, {"countdown": 3}])
def test_a_remote_task_has_no_options_of_a_call(
    option: dict[str, Any], app: App, sent: Callable[..., list[Signature]]
) -> None:
    """Two calls with one id are one task to Go: the second overwrites the first one's result."""
    (name,) = option
    with pytest.raises(TaskError, match=f"task 'far': {name} belongs to a call"):
        app.remote("far", **option)
    task = app.task(add)
    if name != "countdown":
        with pytest.raises(TaskError, match="uuid, on_success, on_error and immutable belong to a signature"):
            app.publish_many([task.s(1), task.s(2)], **option)  # type: ignore[call-overload]
    assert sent() == []


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"time_limit": 3}, "@app.task(hard_limit="),
        ({"retry": True}, "retry_count is the task's own tries"),
        ({"shadow": "x"}, "a message has one name"),
        ({"root_id": "x"}, "headers="),
        ({"exchange": "x"}, "name the queue"),
        ({"coutdown": 1}, "did you mean 'countdown'"),
        ({"expires": "soon"}, "expected 0 or more seconds, or a timedelta, or an aware datetime"),
    ],
)
def test_an_option_that_calls_do_not_have(option: dict[str, Any], sentence: str, app: App) -> None:
    with pytest.raises(TaskError) as caught:
        app.task(add).apply_async((1,), **option)
    assert sentence in str(caught.value)


# --- bound tasks ---------------------------------------------------------------------------------


def test_a_bound_task_called_directly(app: App) -> None:
    @app.task(bind=True, max_retries=5)
    def fetch(self: Any, url: str) -> str:
        if url == "away":
            raise self.retry(exc=OSError("away"))
        if url == "nothing":
            raise self.retry()
        return f"{url} {self.request.id!r} {self.request.retries} of {self.max_retries}"

    assert fetch("home") == "home '' 0 of 5"
    with pytest.raises(OSError, match="away"):
        fetch("away")
    with pytest.raises(TaskError, match="task 'fetch': no task is running here"):
        fetch("nothing")


def test_a_bound_task_keeps_its_retry_count(app: App) -> None:
    """Binding does not change which failures are tried again."""
    tries: list[int] = []

    @app.task(bind=True, retry_count=1)
    def flaky(self: Any) -> int:
        tries.append(self.request.retries)
        if len(tries) < 2:
            raise OSError
        return len(tries)

    with Worker(app, concurrency=1):
        assert flaky.delay().get(timeout=10) == 2
    assert tries == [0, 1]


def test_a_bound_task_tries_again_only_when_it_asks(app: App) -> None:
    @app.task(bind=True)
    def fails(self: Any) -> None:
        raise OSError("once")

    with Worker(app, concurrency=1), pytest.raises(TaskFailed, match="once"):
        fails.delay().get(timeout=10)
