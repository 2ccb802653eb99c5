"""A dashboard for each test, with an app of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.conftest import missing
from tests.support.servers import ServerMissing
from tests.web.visitor import TOKEN, Visitor, served

from gearmesh import App
from gearmesh.web import Dashboard, DashboardSettings

#: Chromium contacts no other server, and runs as root in a container.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Makes a dashboard of an app and returns a visitor, who has signed in unless ``sign_in`` is False.
Show = Callable[..., Visitor]


def make_app(broker: str, backend: str | None = None, **settings: Any) -> App:
    """An app with a few tasks and a periodic entry."""
    app = App(broker, backend=backend or broker, **settings)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def login(user: str, password: str) -> str:
        return user

    @app.task
    def broken(item: int) -> int:
        raise ValueError(f"no stock for item {item}")

    @app.task
    def reserve(user: str, order: str) -> int:
        return 1

    app.periodic("0 4 * * *", add.s(1, 2), name="nightly sum")
    return app


@pytest.fixture
def app() -> Iterator[App]:
    with make_app(f"memory://{uuid4().hex}") as app:
        yield app


@pytest.fixture
def show() -> Iterator[Show]:
    with ExitStack() as stack:

        def show(app: App, *, root_path: str = "", sign_in: bool = True, **settings: Any) -> Visitor:
            settings.setdefault("token", TOKEN)
            dashboard = Dashboard(app, DashboardSettings(**settings), root_path=root_path)
            stack.callback(dashboard.close)
            visitor = Visitor(stack.enter_context(served(dashboard)))
            if sign_in:
                assert visitor.post(f"{root_path}/sign-in", {"token": TOKEN}).status == 303
            return visitor

        yield show


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium for the tests of a file, without a window.

    Playwright runs an event loop in this thread meanwhile: it must be over before the tests of other files.
    """
    path = os.environ.get("GEARMESH_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing(ServerMissing("no chromium on PATH: apt-get install chromium, or set GEARMESH_CHROMIUM"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()
