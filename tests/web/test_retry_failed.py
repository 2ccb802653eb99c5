"""Failed tasks whose messages their workers kept: shown with their arguments, found by them, and sent again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.web.conftest import Show, make_app

from gearmesh import App
from gearmesh.results.failures import MAX_MESSAGE_BYTES
from gearmesh.testing.waiting import eventually
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskState
from gearmesh.worker import Worker


@pytest.fixture
def failing(redis_url: str) -> Iterator[tuple[App, list[Any]]]:
    """An app whose worker has failed five tasks; one more has failed in Go, and one has much in its arguments."""
    with make_app(redis_url, default_queue="shop") as app:
        broken = app.tasks["broken"]
        with Worker(app):
            failed = [broken.delay(item) for item in (1701, 1702, 1703, 2704, 2705)]
            for each in failed:
                assert each.wait(timeout=20) == FAILURE
            long = broken.apply_async((9,), headers={"note": "x" * MAX_MESSAGE_BYTES})
            assert long.wait(timeout=20) == FAILURE
        app.backend.write(
            [
                TaskState(TaskUUID="task_go", TaskName="ship", State=PENDING, CreatedAt=format_ns(1)),
                TaskState(TaskUUID="task_go", State=FAILURE, Error="no stock for Go"),
            ]
        )
        yield app, failed


def stored(app: App, failed: list[Any]) -> list[str]:
    """Their states as they are now: a result that has seen a final state keeps it."""
    return [app.result(each.uuid).state for each in failed]


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the form on a page that asks."""
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page))


def test_failed_tasks_are_found_by_arguments_and_sent_once_more(
    failing: tuple[App, list[Any]], show: Show
) -> None:
    app, failed = failing
    visitor = show(app, allow_actions=True)
    csrf = visitor.csrf()
    eventually(lambda: "int64:1702" in visitor.get("/failed").text, what="the walk")
    page = visitor.get("/failed?args=170").text
    assert "3 found among" in page
    assert failed[4].uuid not in page
    page = visitor.get(f"/task?id={failed[0].uuid}").text
    assert "1701" in page
    assert "kept this copy" in page
    assert '"UUID": "' in page.replace("&#34;", '"'), "the whole payload"
    asked = visitor.post("/failed/confirm", {"csrf": csrf, "scope": "filter", "args": "170"})
    assert "Retry 3 failed tasks?" in asked.text
    done = visitor.post("/failed/retry", {**fields(asked.text), "csrf": csrf})
    assert (done.status, done.headers["location"]) == (303, "/failed?retried=3&without=0")
    assert "3 tasks were sent again" in visitor.get("/failed?retried=3&without=0").text
    assert stored(app, failed) == [PENDING] * 3 + [FAILURE] * 2

    # The next release has mended the task.
    url = app.config.broker
    with App(url, url, default_queue="shop") as release:

        @release.task(name="broken")
        def mended(item: int) -> int:
            return item

        with Worker(release):
            results = [release.result(each.uuid).get(timeout=20) for each in failed[:3]]
    assert results == [1701, 1702, 1703]
    assert stored(app, failed) == [SUCCESS] * 3 + [FAILURE] * 2


def test_some_are_ticked_and_others_have_no_message(failing: tuple[App, list[Any]], show: Show) -> None:
    app, failed = failing
    visitor = show(app, allow_actions=True)
    csrf = visitor.csrf()
    ticked = [("csrf", csrf), ("id", failed[3].uuid), ("id", "task_go"), ("id", "task_unknown")]
    asked = visitor.post("/failed/confirm", ticked).text
    assert "Retry 1 failed task?" in asked
    assert "1 more cannot be retried" in asked
    assert visitor.post("/failed/retry", ticked).headers["location"] == "/failed?retried=1&without=1"
    assert stored(app, failed[3:4]) == [PENDING]
    # It is sent once: a form that is sent again finds it PENDING.
    again = visitor.post("/failed/retry", ticked)
    assert again.status == 400
    assert "not FAILURE any more" in again.text
    for wrong in (
        {},
        {"scope": "filter", "state": "SUCCESS"},
        {"id": "task_go"},
    ):
        assert visitor.post("/failed/retry", {"csrf": csrf, **wrong}).status == 400


def test_a_read_only_dashboard_retries_nothing(failing: tuple[App, list[Any]], show: Show) -> None:
    app, failed = failing
    visitor = show(app)
    csrf = visitor.csrf("/failed")
    assert visitor.post("/failed/retry", {"csrf": csrf, "id": failed[0].uuid}).status == 403
    assert "Retry…" not in visitor.get(f"/task?id={failed[0].uuid}").text


def test_the_setting(redis_url: str, show: Show) -> None:
    with make_app(redis_url, default_queue="shop", store_failed_messages=False) as app:
        with Worker(app):
            failed = app.tasks["broken"].delay(5)
            assert failed.wait(timeout=20) == FAILURE
        page = show(app).get(f"/task?id={failed.uuid}").text
        assert "kept this copy" not in page
        assert "no stock for item 5" in page


def test_brokers_without_a_list_of_states(show: Show) -> None:
    url = f"memory://{uuid4().hex}"
    with make_app(url, "null") as app:
        visitor = show(app, allow_actions=True)
        answer = visitor.post("/failed/retry", {"csrf": visitor.csrf(), "scope": "filter", "task": "x"})
        assert answer.status == 400
