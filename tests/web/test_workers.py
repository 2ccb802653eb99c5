"""Running workers on the dashboard: the facts that they report, and the commands that they get."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.web.conftest import Show

from gearmesh import App
from gearmesh.control.line import open_line
from gearmesh.control.messages import Reply, Request, check, decode_request

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn")

STATUS = {
    "version": "0.1.0", "host": "<b>h</b>", "pid": 5, "since": 1, "pool": "threads", "queues": ["machinery_tasks"],
    "paused": ["task <i>x</i>"], "slots": 10, "ready": True, "consumers": ["c"], "running": 1, "held": 2,
    "memory": 50_000_000, "ended": {"succeeded": 1234, "failed": 5},
    "tasks": [{"uuid": "task_1", "task": "<script>t</script>", "queue": "q", "seconds": 65.0}],
}  # fmt: skip


class Answering:
    """Answers requests as a worker does, over the real broker; keeps them."""

    def __init__(self, app: App) -> None:
        self.line = open_line(app.config, listens=True)
        self.heard: list[Request] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stopping.is_set():
            body = self.line.receive(0.05)
            if body is None:
                continue
            request = decode_request(body)
            check(request.verb, request.args)
            self.heard.append(request)
            data: Any = STATUS if request.verb == "status" else {}
            error = "there is no room" if request.verb == "grow" else ""
            reply = Reply(id=request.id, worker="w1", error=error, data=data)
            self.line.send(msgspec.json.encode(reply), request.reply_to)

    def orders(self) -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
        return [(each.verb, each.args, each.to) for each in self.heard if each.verb != "status"]


@pytest.fixture
def answering(redis_url: str) -> Iterator[tuple[App, Answering]]:
    with App(redis_url, redis_url) as app:
        worker = Answering(app)
        yield app, worker
        worker.stopping.set()
        worker.thread.join()
        worker.line.close()


def test_texts_of_a_worker_are_escaped(show: Show, answering: tuple[App, Answering]) -> None:
    app, _ = answering
    text = show(app).get("/workers").text
    for part in ("w1", "1,234 succeeded", "gearmesh 0.1.0", "&lt;script&gt;t&lt;/script&gt;", "&lt;i&gt;x"):
        assert part in text
    assert "<script>t" not in text
    assert "/workers/tell" not in text  # it is read-only


def test_orders(show: Show, answering: tuple[App, Answering], caplog: pytest.LogCaptureFixture) -> None:
    app, worker = answering
    visitor = show(app, allow_actions=True)

    def tell(**fields: str) -> Any:
        return visitor.post("/workers/tell", {"csrf": visitor.csrf("/workers"), **fields})

    with caplog.at_level(logging.INFO, "gearmesh.dashboard.audit"):
        done = tell(verb="pause", kind="queue", name="mail")
    assert (done.status, done.headers["location"]) == (303, "/workers?told=pause&replies=1")
    assert "1 worker replied" in visitor.get(done.headers["location"]).text
    assert "told workers verb='pause' kind='queue' name='mail' to='all' replies=1" in caplog.text
    assert tell(verb="shutdown", to="w1").text.count("Stop the worker") == 1
    assert tell(verb="shutdown", to="w1", sure="yes").status == 303
    assert tell(verb="shrink", to="w1").status == 303
    refused = tell(verb="grow", to="w1")
    assert (refused.status, "there is no room" in refused.text) == (503, True)
    for fields in ({"verb": "eval"}, {"verb": "shutdown"}, {"verb": "pause", "kind": "x", "name": "y"}):
        assert tell(**fields).status == 400
    assert worker.orders() == [
        ("pause", {"kind": "queue", "name": "mail"}, ()),
        ("shutdown", {}, ("w1",)),
        ("shrink", {"count": 1}, ("w1",)),
        ("grow", {"count": 1}, ("w1",)),
    ]


def test_without_workers_that_listen(show: Show, app: App, redis_url: str) -> None:
    text = show(app).get("/workers").text
    assert "Python workers reply with their tasks" in text
    with App(redis_url, redis_url) as other:
        assert "--no-remote-control" in show(other).get("/workers").text
