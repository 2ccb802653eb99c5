"""The pages in Chromium on hosted brokers, which tell less, and with Go, Celery and Python workers side by side."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from tests.celery.processes import CeleryProcess
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import ElasticMQServer, PubSubServer
from tests.web.conftest import Show, make_app
from tests.web.visitor import TOKEN

import gearmesh
from gearmesh import App
from gearmesh.config import SQSConfig
from gearmesh.control.client import ControlClient
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually
from gearmesh.web.application import MENU

PEER = shlex.split(os.environ.get("GEARMESH_PEER", ""))
LONG = pytest.mark.skipif(os.environ.get("GEARMESH_WEB") != "long", reason="GEARMESH_WEB=long runs it")
PATHS = [*(path for path, _ in MENU), "/queue?name=shop", "/task?id=task_none"]


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    assert found == []


def signed_in(
    chromium: Browser, show: Show, app: App, complaints: list[str], **settings: Any
) -> tuple[Page, str]:
    """A page of a browser that has signed in, and the dashboard's address."""
    visitor = show(app, sign_in=False, allow_actions=True, queues=("shop",), **settings)
    page = chromium.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    base = f"http://127.0.0.1:{visitor.port}"
    page.goto(base)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("h1:has-text('Overview')")
    return page, base


def every_page(page: Page, base: str) -> dict[str, str]:
    """The text of each page of the menu, of a queue, and of a task that is not known."""
    texts = {}
    for path in PATHS:
        answer = page.goto(base + path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").count() == 1, path
        texts[path] = page.inner_text("main")
    return texts


@LONG
def test_sqs(
    chromium: Browser,
    show: Show,
    elasticmq: ElasticMQServer,
    redis_url: str,
    complaints: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")
    with make_app(elasticmq.url, redis_url, default_queue="shop", sqs=SQSConfig(create_queues=True)) as app:
        for _ in range(3):
            app.tasks["add"].delay(1, 2)
        app.tasks["add"].apply_async((1, 2), countdown=600)
        page, base = signed_in(chromium, show, app, complaints)
        texts = every_page(page, base)
        assert page.goto(f"{base}/") is not None
        assert page.inner_text("dt:text-is('Delayed') + dd") == "1"
        assert page.goto(f"{base}/queue?name=shop") is not None
        assert page.inner_text("dt:text-is('Delayed') + dd") == "1"
    assert "SQS shows a message only by delivering it" in texts["/queue?name=shop"]
    assert "SQS has no place for a history" in texts["/"]
    assert "SQS" in texts["/workers"]
    page.context.close()


@LONG
def test_pubsub(
    chromium: Browser, show: Show, pubsub_emulator: PubSubServer, redis_url: str, complaints: list[str]
) -> None:
    project = PubSubProject()
    url = project.queue("shop")
    with make_app(url, redis_url, default_queue="shop") as app:
        app.tasks["add"].delay(1, 2)
        page, base = signed_in(chromium, show, app, complaints)
        texts = every_page(page, base)
    assert "Pub/Sub" in texts["/queue?name=shop"]
    assert "Pub/Sub has no place for a history" in texts["/"]
    page.context.close()


TASKS = """
from gearmesh import App
app = App({url!r}, {url!r}, default_queue="shop", history=True, remote_control=True)

@app.task
def python_add(x: int, y: int) -> int:
    return x + y

@app.task
def python_fail() -> None:
    raise ValueError("python says no")
"""


@pytest.mark.peer
@pytest.mark.skipif(not PEER, reason="GEARMESH_PEER is not set")
def test_go_celery_and_python_side_by_side(
    chromium: Browser, show: Show, redis_url: str, complaints: list[str], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(TASKS.format(url=redis_url))
    source = str(Path(gearmesh.__file__).parents[1])
    command = [sys.executable, "-m", "gearmesh", "worker", "shop:app", "--name", "python-worker", "-c", "2"]
    with ExitStack() as stack:
        python = subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, stderr=subprocess.DEVNULL
        )
        stack.callback(python.wait, 40)
        stack.callback(python.terminate)
        go = ["-mode", "worker", "-broker", redis_url, "-backend", redis_url, "-queue", "shop"]
        stack.enter_context(PeerProcess([*PEER, *go, "-only", "multiply,fail"]))
        stack.enter_context(
            CeleryProcess(
                "worker",
                "-Q",
                "shop",
                "-l",
                "INFO",
                "-c",
                "1",
                "-P",
                "threads",
                broker=redis_url,
                backend=redis_url,
            )
        )
        app = stack.enter_context(make_app(redis_url, redis_url, default_queue="shop"))
        sent = [
            app.remote("python_add", "int64", "int64").delay(1, 2),
            app.remote("python_fail").delay(),
            app.remote("multiply", "int64", "int64").delay(3, 4),
            app.remote("fail", "string").delay("go says no"),
            app.remote("add", "int64", "int64").delay(5, 6),
        ]
        for result in sent:
            result.wait(timeout=60)
        eventually(lambda: ControlClient(app).ask("ping", timeout=1))
        page, base = signed_in(chromium, show, app, complaints)
        eventually(lambda: "tasks of Python workers ended" in _text(page, base, "/"), what="a chart")
        overview = _text(page, base, "/")
        workers = _text(page, base, "/workers")
        failed = _text(page, base, "/failed")
        for folder in filter(None, [os.environ.get("GEARMESH_SCREENS")]):
            for name, path in (("overview", "/"), ("workers", "/workers"), ("failed", "/failed")):
                page.goto(base + path)
                page.screenshot(path=Path(folder, f"side-by-side-{name}.png"), full_page=True)
        for path in ("/", "/workers"):
            page.goto(base + path)
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
        states = [_text(page, base, f"/task?id={result.id}") for result in sent]
        page.context.close()
    for name in ("python_add", "multiply", "add", "shop"):
        assert name in overview, name
    assert "python-worker" in workers
    assert "Go workers are not listed" in workers
    assert "python says no" in failed
    assert "go says no" in failed
    assert [
        word
        for text, word in zip(states, ("SUCCESS", "FAILURE") * 2 + ("SUCCESS",), strict=False)
        if word in text
    ]
    assert "ValueError" in states[1]  # Python's error has its type; Go's has a text


def _text(page: Page, base: str, path: str) -> str:
    page.goto(base + path)
    return page.inner_text("main")
