"""A dashboard for each test, with an app of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from tests.web.visitor import TOKEN, Visitor, served

from gearmesh import App
from gearmesh.web import Dashboard, DashboardSettings

#: Makes a dashboard of an app and gives a visitor who has signed in, unless ``sign_in`` is False.
Show = Callable[..., Visitor]


def make_app(broker: str, backend: str | None = None) -> App:
    """An app with a few tasks and a periodic entry."""
    app = App(broker, backend=backend or broker)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    def login(user: str, password: str) -> str:
        return user

    @app.task
    def broken(item: int) -> int:
        raise ValueError(f"no stock for item {item}")

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
