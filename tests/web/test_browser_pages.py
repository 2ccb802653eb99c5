"""Every page in Debian's Chromium: on all servers, in two sizes, light and dark, and for screen readers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.web import browsing
from tests.web.browsing import SIZES, rows
from tests.web.seed import working

#: The fixture of both files with a browser.
open_desk = browsing.open_desk


def test_every_page_on_redis_without_serious_findings(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk, working(desk.app, "shop", "web-1:4242:abc", 3):
        # A page of 50 rows takes axe seconds, and shows it no more than one of 20.
        for name, path in {**desk.pages(), "queue": "/queue?name=shop&start=100"}.items():
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
                    # As high as the page: parts that stick to the window's edge are then at the page's end.
                    height = page.evaluate("document.documentElement.scrollHeight")
                    page.set_viewport_size({**size, "height": height})
                    page.screenshot(path=Path(folder, f"{name}-{width}-{scheme}.png"), full_page=True)
            if scheme == "dark" and name in ("overview", "workflow", "failed", "dead", "group"):
                found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
                assert [node["html"] for each in found for node in each["nodes"]] == [], name


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


@pytest.mark.parametrize("kind", ["rabbitmq", "mongodb"])
def test_every_page_on_other_servers(
    open_desk: Any, request: pytest.FixtureRequest, kind: str, redis_url: str
) -> None:
    """RabbitMQ with results on Redis, and Redis with results in MongoDB: each page names its unknown numbers."""
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
            page.wait_for_selector("text=has just delivered them and taken them back")
            assert rows(page) == 50
            assert "RabbitMQ does not list delayed messages" in desk.go("/delayed").content()
        page = desk.go("/dead?queue=shop")
        page.get_by_label("Which").select_option("all")
        page.get_by_role("button", name="Retry…").click()
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('9 returned')")
