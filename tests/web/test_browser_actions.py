"""The dashboard in Debian's Chromium: searches, actions, the keyboard, and markup that stays text."""

from __future__ import annotations

from typing import Any

from tests.web import browsing
from tests.web.browsing import rows
from tests.web.test_markup import EVIL, plant

#: The fixture of both files with a browser.
open_desk = browsing.open_desk


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
        assert "shop.errors.OutOfStock" in page.get_by_label("Traceback").inner_text()
        assert rows(desk.go("/failed?state=SUCCESS&task=add")) >= 50
        assert "abc123" not in desk.go("/failed?text=timed").content()
        # The field of every page finds a task.
        page.get_by_placeholder("task UUID").fill(desk.seeded.waiting)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=waits in queue shop")


def test_retrying_failed_tasks(open_desk: Any, redis_url: str) -> None:
    with open_desk(redis_url) as desk:
        page = desk.go("/failed")
        boxes = page.locator("input[type=checkbox][name=id]")
        assert boxes.count() == 24, "six of them, and the one of the group, left no message"
        boxes.nth(0).check()
        boxes.nth(5).check()
        # The list stays as it is while the numbers above it are loaded again, and keeps the ticks.
        with page.expect_response(lambda answer: "/failed" in answer.url):
            pass
        page.get_by_role("button", name="Retry…").click()
        assert page.locator("h1").inner_text() == "Retry 2 failed tasks?"
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('2 tasks were sent again')")
        desk.go("/failed?args=user-27")
        assert rows(page) == 1
        page.get_by_role("link", name="reserve").click()
        page.wait_for_selector("text=kept this copy")
        assert "user-27" in page.locator("#payload").inner_text()
        page.get_by_role("button", name="Retry…").click()
        page.locator("#confirm").click()
        page.wait_for_selector(".done:has-text('1 task was sent again')")
        desk.go("/failed?task=reserve&text=stock")
        left = rows(page)
        page.get_by_label("Which").select_option("filter")
        page.get_by_role("button", name="Retry…").click()
        assert f"Retry {left - 4} failed tasks?" in page.locator("h1").inner_text()
        assert "cannot be retried" in page.locator("main").inner_text()


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
        page.get_by_label("Which").select_option("filter")
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
        # A page that stays open shows changes.
        page = desk.go("/queue?name=mail")
        assert rows(page) == 0
        desk.app.send_task("hello", queue="mail")
        page.wait_for_selector("td:has-text('hello')")
        page = desk.go("/queue?name=mail&live=off")
        assert page.locator("[sse-connect]").count() == 0
        page.get_by_role("button", name="Sign out token").click()
        page.wait_for_selector("h1:has-text('Sign in')")


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


def test_no_markup_of_a_task_comes_alive(open_desk: Any, redis_url: str) -> None:
    """The browser itself finds nothing to run: no element, no dialog, no refusal by the Content-Security-Policy."""
    with open_desk(redis_url) as desk:
        for number, evil in enumerate(EVIL):
            pages = plant(desk.app, evil, number)
            if number % 6 == 0:
                for name in ("waiting", "failure"):
                    page = desk.go(pages[name])
                    assert page.locator("xss, iframe, base, img, [onload], [onmouseover]").count() == 0, (
                        evil,
                        name,
                    )
        for path in ("/", "/failed", "/delayed", "/groups"):
            page = desk.go(path)
            assert page.locator("xss, iframe, base, img, [onload], [onmouseover]").count() == 0, path
