"""The dashboard in Debian's Chromium: searches, pages, actions, accessibility, and what the console says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from tests.web.conftest import Show, make_app
from tests.web.seed import Seeded, bury, seed, some_letters, working
from tests.web.test_markup import EVIL, plant
from tests.web.visitor import TOKEN

from gearmesh import App

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
            "overview": "/",
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
        }


Open = Callable[..., Desk]


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


def test_every_page_on_redis_without_serious_findings(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk, working(desk.app, "shop", "web-1:4242:abc", 3):
        for name, path in desk.pages().items():
            page = desk.go(path)
            assert page.locator("h1").count() == 1, name
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == [], name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screens(open_desk: Any, redis_url: str, scheme: str) -> None:
    """Nothing is wider than a window or a phone. GEARMESH_SCREENS names a folder to keep pictures in."""
    folder = os.environ.get("GEARMESH_SCREENS")
    with (
        open_desk(redis_url, context={"color_scheme": scheme}) as desk,
        working(desk.app, "shop", "web-1:4242:abc", 3),
    ):
        for name, path in desk.pages().items():
            page = desk.go(path)
            for width, size in SIZES.items():
                page.set_viewport_size(size)
                wide = page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                assert wide <= 0, f"{name} is {wide} px too wide"
                if folder:
                    page.screenshot(path=Path(folder, f"{name}-{width}-{scheme}.png"), full_page=True)
            if scheme == "dark" and name in ("overview", "workflow", "failed", "dead", "group"):
                found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
                assert [node["html"] for each in found for node in each["nodes"]] == [], name


def rows(page: Page) -> int:
    """The rows of the first table on a page, without the one that says that there is none."""
    return page.locator("table tbody tr:not(:has(td[colspan]))").count()


def test_searching_and_paging_a_queue(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk:
        page = desk.go("/queue?name=shop")
        assert rows(page) == 50
        first = page.locator("td[data-label=Position]").first
        assert first.inner_text() == "0"
        page.get_by_role("link", name="next →").click()
        page.wait_for_url("**start=50**")
        assert first.inner_text() == "50"
        page.get_by_role("link", name="next →").click()
        page.wait_for_url("**start=100**")
        assert rows(page) == 21
        page.get_by_label("Task name contains").fill("LOG")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**task=LOG**")
        assert rows(page) == 40
        assert set(page.locator("td[data-label=Task]").all_inner_texts()) == {"login"}
        desk.go("/queue?name=shop")
        page.get_by_label("Arguments contain").fill("user-77")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**text=user-77**")
        assert rows(page) == 1
        page.get_by_role("link", name="reserve").click()
        page.wait_for_selector("h1:has-text('Task task_')")
        assert "user-77" in page.locator("#payload").inner_text()
        # A hidden value is shown nowhere, and no search finds it.
        assert "hunter2" not in page.content()
        page = desk.go("/queue?name=shop&text=hunter2")
        assert rows(page) == 0
        page = desk.go("/queue?name=shop&state=PENDING&age=under-1h")
        assert rows(page) >= 50
        assert rows(desk.go("/queue?name=shop&age=over-1d")) == 0
        assert rows(desk.go("/queue?name=shop&state=STARTED")) == 0


def test_finding_failed_tasks(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk:
        page = desk.go("/failed")
        reasons = page.locator("table[aria-labelledby=reasons] tbody tr")
        assert reasons.nth(0).locator("td").all_inner_texts() == ["no stock for item #", "22"]
        assert reasons.nth(1).locator("td").all_inner_texts() == ["timed out, token=••••••", "8"]
        page.get_by_role("link", name="no stock for item #").click()
        page.wait_for_url("**reason=**")
        assert rows(page) == 22
        desk.go("/failed")
        page.get_by_label("Error contains").fill("item 1702")
        page.get_by_role("button", name="Search").click()
        page.wait_for_url("**text=**")
        assert rows(page) == 1
        page.get_by_role("link", name="reserve").click()
        page.wait_for_selector("h1:has-text('Task task_')")
        assert "shop.errors.OutOfStock" in page.locator("pre").inner_text()
        assert rows(desk.go("/failed?state=SUCCESS&task=add")) >= 50
        assert "abc123" not in desk.go("/failed?text=timed").content()
        # The field of every page finds a task.
        page.get_by_placeholder("task UUID").fill(desk.seeded.waiting)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=waits in queue shop")


def test_retrying_and_deleting_dead_letters(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url, letters=70) as desk:
        page = desk.go("/dead?queue=shop")
        assert rows(page) == 50
        boxes = page.locator("input[type=checkbox][name=id]")
        boxes.nth(0).check()
        boxes.nth(3).check()
        page.get_by_role("button", name="Retry…").click()
        assert page.locator("h1").inner_text() == "Retry 2 dead letters?"
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('2 returned to the tail of shop')")
        assert "of 68" in page.locator(".pager").inner_text()
        page.get_by_label("Reason contains").fill("timed out")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**reason=timed**")
        page.get_by_label("Which").select_option("reason")
        page.get_by_role("button", name="Delete…").click()
        asked = page.locator("h1").inner_text()
        assert asked in ("Delete 23 dead letters?", "Delete 22 dead letters?", "Delete 21 dead letters?")
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('deleted from shop')")
        left = 68 - int(asked.split()[1])
        assert f"of {left}" in page.locator(".pager").inner_text()
        page.locator(".check-all").check()
        assert page.locator("input[type=checkbox][name=id]:checked").count() == left
        page.get_by_label("Which").select_option("all")
        page.get_by_role("button", name="Retry…").click()
        assert page.locator("h1").inner_text() == f"Retry {left} dead letters?"
        page.locator("#confirm").click()
        page.wait_for_selector(f".done:has-text('{left} returned')")
        assert rows(page) == 0


def test_actions_and_live_pages(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk:
        page = desk.go("/periodic")
        page.get_by_role("button", name="Run nightly sum now").click()
        page.wait_for_selector(".done:has-text('Sent now')")
        page.locator(".done a").click()
        page.wait_for_selector("text=waits in queue shop")
        page.get_by_role("button", name="Revoke").click()
        page.wait_for_selector(".done:has-text('The task is revoked')")
        # A page that stays open sees what changes.
        page = desk.go("/queue?name=mail")
        assert rows(page) == 0
        desk.app.send_task("hello", queue="mail")
        page.wait_for_selector("td:has-text('hello')")
        page = desk.go("/queue?name=mail&live=off")
        assert page.locator("[sse-connect]").count() == 0
        page.get_by_role("button", name="Sign out token").click()
        page.wait_for_selector("h1:has-text('Sign in')")


def test_read_only_pages_have_no_buttons(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url, allow_actions=False) as desk:
        for name, path in desk.pages().items():
            buttons = desk.go(path).locator("main button:visible").all_inner_texts()
            assert set(buttons) <= {"Search", "Filter", "Find", "Copy"}, name


def test_pages_without_javascript(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url, context={"java_script_enabled": False}) as desk:
        for name, path in desk.pages().items():
            assert desk.go(path).locator("h1").count() == 1, name
        page = desk.go("/dead?queue=shop")
        page.locator("input[type=checkbox][name=id]").first.check()
        page.get_by_role("button", name="Delete…").click()
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('1 deleted')")


def test_the_keyboard_reaches_everything(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk:
        page = desk.go("/dead?queue=shop&live=off")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
        assert any("Retry" in each or 'value="retry"' in each for each in seen)
        assert any("Failed" in each or "/failed" in each for each in seen)


@pytest.mark.parametrize("kind", ["rabbitmq", "mongodb"])
def test_every_page_on_other_servers(
    open_desk: Any, request: pytest.FixtureRequest, kind: str, redis_url: str
) -> None:
    """RabbitMQ with results on Redis, and Redis with results in MongoDB: each page says what cannot be told."""
    broker, backend = redis_url, redis_url
    if kind == "rabbitmq":
        broker = request.getfixturevalue("amqp_url")
    else:
        backend = request.getfixturevalue("mongodb_url")
    with open_desk(broker, backend) as desk:
        for name, path in desk.pages().items():
            assert desk.go(path).locator("h1").count() == 1, name
        page = desk.go("/failed?task=reserve")
        assert rows(page) == 30
        assert rows(desk.go("/dead?queue=shop")) == 9
        if kind == "rabbitmq":
            page = desk.go("/queue?name=shop")
            assert "RabbitMQ shows a message only by delivering it" in page.content()
            page.get_by_role("button", name="Deliver the first 50").click()
            page.wait_for_selector("text=as they were delivered and taken back")
            assert rows(page) == 50
            assert "RabbitMQ does not list delayed messages" in desk.go("/delayed").content()
        page = desk.go("/dead?queue=shop")
        page.get_by_label("Which").select_option("all")
        page.get_by_role("button", name="Retry…").click()
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('9 returned')")


def test_no_markup_of_a_task_comes_alive(open_desk: Any, redis_url: str) -> None:
    """The browser itself finds nothing to run: no element, no dialog, no refusal by the Content-Security-Policy."""
    with open_desk(redis_url) as desk:
        for number, evil in enumerate(EVIL):
            pages = plant(desk.app, evil, number)
            if number % 4 == 0:
                for name in ("waiting", "failure", "dead", "asked"):
                    page = desk.go(pages[name])
                    assert page.locator("xss, iframe, base, img, [onload], [onmouseover]").count() == 0, (
                        evil,
                        name,
                    )
        for path in ("/", "/failed", "/delayed", "/groups"):
            page = desk.go(path)
            assert page.locator("xss, iframe, base, img, [onload], [onmouseover]").count() == 0, path
