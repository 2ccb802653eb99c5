"""A browser that looks at one dashboard, and the pages that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from tests.web.conftest import Show, make_app
from tests.web.seed import Seeded, bury, seed, some_letters
from tests.web.visitor import TOKEN

from gearmesh import App

__all__ = ["SIZES", "Desk", "open_desk", "rows"]

SIZES = {"1280": {"width": 1280, "height": 900}, "390": {"width": 390, "height": 844}}


class Desk:
    """A browser that looks at one dashboard."""

    def __init__(self, page: Page, base: str, app: App, seeded: Seeded) -> None:
        self.page, self.base, self.app, self.seeded = page, base, app, seeded
        self.complaints: list[str] = []
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def go(self, path: str) -> Page:
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return self.page

    def sign_in(self) -> None:
        self.go("/")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_selector("h1:has-text('Overview')")

    def pages(self) -> dict[str, str]:
        found = self.seeded
        return {
            "queue": "/queue?name=shop",
            "task": f"/task?id={found.waiting}",
            "failure": f"/task?id={found.failed}",
            "workflow": f"/task?id={found.workflow}",
            "failed": "/failed",
            "dead": "/dead?queue=shop",
            "delayed": "/delayed",
            "groups": "/groups",
            "group": f"/group?id={found.group}",
            "workers": "/workers",
            "periodic": "/periodic",
            "overview": "/",
        }


def rows(page: Page) -> int:
    """Return the number of rows in the first table on a page, without the row for an empty table."""
    return page.locator("table tbody tr:not(:has(td[colspan]))").count()


@pytest.fixture
def open_desk(chromium: Browser, show: Show) -> Iterator[Callable[..., Any]]:
    """Seed an app's servers and look at them; complaints of the browser fail the test."""
    desks: list[Desk] = []

    @contextmanager
    def opened(
        broker: str, backend: str | None = None, *, letters: int = 9, **options: Any
    ) -> Iterator[Desk]:
        context = options.pop("context", {})
        with make_app(broker, backend, default_queue="shop") as app:
            if letters:
                bury(app, some_letters(letters))
            seeded = seed(app)
            visitor = show(
                app, sign_in=False, **{"allow_actions": True, "queues": ("photos", "mail"), **options}
            )
            browser = chromium.new_context(**{"viewport": SIZES["1280"], **context})
            try:
                desk = Desk(browser.new_page(), f"http://127.0.0.1:{visitor.port}", app, seeded)
                desks.append(desk)
                desk.sign_in()
                yield desk
            finally:
                browser.close()

    yield opened
    assert [desk.complaints for desk in desks] == [[] for _ in desks]
