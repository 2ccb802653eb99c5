"""Signing in, forms of other sites, read-only dashboards, and headers."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.web.conftest import Show
from tests.web.visitor import TOKEN, Visitor, served

from gearmesh import App, ConfigError
from gearmesh.cli import main
from gearmesh.web import Dashboard, DashboardSettings
from gearmesh.web.pages import ACTIONS, PAGES
from gearmesh.web.sessions import SESSION_TTL_S, Sessions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn")


def test_nobody_sees_a_page_without_signing_in(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False)
    for path in [*PAGES, "/task/payload?id=x", "/nope"]:
        answer = visitor.get(path)
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")
        assert answer.text == ""
    assert visitor.get("/events").status == 401
    assert visitor.get("/", HX_Request="true").headers["hx-redirect"] == "/sign-in"
    for path in ACTIONS:
        assert visitor.post(path, {"queue": "x"}).status == 401
    assert visitor.get("/healthz").text == "ok"


def test_the_token_signs_in_and_out(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False)
    assert visitor.sign_in("wrong").headers["location"] == "/sign-in?wrong=1"
    assert visitor.get("/").status == 303
    answer = visitor.sign_in()
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert visitor.get("/").status == 200
    assert visitor.post("/sign-out", {"csrf": visitor.csrf()}).status == 303
    visitor.cookies.clear()
    assert visitor.get("/").status == 303


def test_wrong_tokens_are_counted(show: Show, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearmesh.web.guard.WRONG_TOKEN_DELAY_S", 0.0)
    visitor = show(app, sign_in=False)
    answers = [visitor.sign_in("wrong").status for _ in range(11)]
    assert answers == [*[303] * 10, 429]
    assert visitor.sign_in().status == 429


@pytest.mark.parametrize(
    "target", ["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:x"]
)
def test_signing_in_leads_to_no_other_site(show: Show, app: App, target: str) -> None:
    visitor = show(app, sign_in=False)
    answer = visitor.post("/sign-in", {"token": TOKEN, "next": target})
    assert answer.headers["location"] == "/"
    answer = visitor.post("/sign-in", {"token": TOKEN, "next": "/queue?name=a"})
    assert answer.headers["location"] == "/queue?name=a"


def test_the_session_needs_tls_on_other_hosts(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False)
    answer = visitor.post("/sign-in", {"token": TOKEN}, Host="ops.example:8765")
    assert answer.status == 400
    assert "--allow-http" in answer.text
    # A header that anybody can send is not believed.
    answer = visitor.post("/sign-in", {"token": TOKEN}, Host="ops.example:8765", X_Forwarded_Proto="https")
    assert answer.status == 400
    visitor = show(app, sign_in=False, trusted_proxies=("127.0.0.1",))
    answer = visitor.post("/sign-in", {"token": TOKEN}, Host="ops.example:8765", X_Forwarded_Proto="https")
    assert "; Secure" in answer.headers["set-cookie"]
    visitor = show(app, sign_in=False, allow_http=True)
    answer = visitor.post("/sign-in", {"token": TOKEN}, Host="ops.example:8765")
    assert "; Secure" not in answer.headers["set-cookie"]


def test_a_form_without_its_token_is_refused(show: Show, app: App, caplog: pytest.LogCaptureFixture) -> None:
    visitor = show(app, allow_actions=True)
    with caplog.at_level(logging.INFO):
        for path in [*ACTIONS, "/sign-out"]:
            assert visitor.post(path, {"queue": "x", "id": "x", "how": "drop", "scope": "all"}).status == 403
            assert visitor.post(path, {"csrf": "0" * 64}).status == 403
    assert sum("csrf" in record.getMessage() for record in caplog.records) == 2 * (len(ACTIONS) + 1)
    other = show(app, allow_actions=True)
    assert visitor.post("/task/revoke", {"csrf": other.csrf(), "id": "x"}).status == 403


def test_a_form_of_another_site_is_refused(show: Show, app: App) -> None:
    visitor = show(app, allow_actions=True)
    fields = {"csrf": visitor.csrf(), "name": "nightly sum"}
    assert visitor.post("/periodic/run", fields, Origin="https://evil.example").status == 403
    assert visitor.post("/periodic/run", fields, Sec_Fetch_Site="cross-site").status == 403
    assert visitor.post("/sign-in", {"token": TOKEN}, Origin="https://evil.example").status == 403
    own = f"http://127.0.0.1:{visitor.port}"
    assert visitor.post("/periodic/run", fields, Origin=own, Sec_Fetch_Site="same-origin").status == 303


def test_a_read_only_dashboard_refuses_every_action(
    show: Show, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = show(app)
    csrf = visitor.csrf()
    with caplog.at_level(logging.WARNING):
        for path in ACTIONS:
            fields = {"csrf": csrf, "queue": "x", "id": "x", "how": "drop", "scope": "all"}
            answer = visitor.post(path, fields)
            assert (answer.status, "read-only" in answer.text) == (403, True)
    assert sum("read-only" in record.getMessage() for record in caplog.records) == len(ACTIONS)
    for path in PAGES:
        assert re_forms(visitor.get(path).text) <= {"/sign-out", "/dead/confirm"}


def re_forms(text: str) -> set[str]:
    """The targets of the forms on a page that change something."""
    parts = text.split('<form method="post" action="')[1:]
    return {part.partition('"')[0] for part in parts}


def test_no_get_is_an_action(show: Show, app: App) -> None:
    visitor = show(app, allow_actions=True)
    for path in [*ACTIONS, "/sign-out"]:
        assert visitor.get(path).status in (404, 405)


def test_every_answer_has_the_headers(show: Show, app: App) -> None:
    visitor = show(app)
    for path in [*PAGES, "/nope", "/sign-in", "/static/dashboard.css"]:
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == ("public, max-age=86400" if "static" in path else "no-store")
    for path in PAGES:
        text = visitor.get(path).text
        assert " style=" not in text
        assert " on" + "click=" not in text
        assert "<script>" not in text


def test_actions_leave_a_line_in_the_log(show: Show, app: App, caplog: pytest.LogCaptureFixture) -> None:
    visitor = show(app, allow_actions=True)
    with caplog.at_level(logging.INFO, logger="gearmesh.dashboard.audit"):
        answer = visitor.post("/periodic/run", {"csrf": visitor.csrf(), "name": "nightly sum"})
    assert answer.status == 303
    assert "sent periodic entry name='nightly sum'" in caplog.text
    assert "user='token'" in caplog.text
    assert TOKEN not in caplog.text


def test_a_proxy_names_the_user(show: Show, app: App) -> None:
    visitor = show(
        app,
        sign_in=False,
        token="",
        auth_header="X-User",
        trusted_proxies=("127.0.0.0/8",),
        allow_actions=True,
    )
    assert visitor.get("/").status == 401
    visitor.headers["X-User"] = "ann"
    assert "ann" in visitor.get("/").text
    csrf = visitor.csrf("/dead")
    assert visitor.post("/periodic/run", {"csrf": csrf, "name": "nightly sum"}).status == 303
    # Another user's session is of no use.
    visitor.headers["X-User"] = "bob"
    assert visitor.post("/periodic/run", {"csrf": csrf, "name": "nightly sum"}).status == 403


def test_a_user_whom_the_proxy_names_is_nobody_without_the_proxy(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False, auth_header="X-User", trusted_proxies=("127.0.0.1",))
    assert visitor.get("/", X_User="token").status == 200
    assert visitor.cookies
    assert visitor.get("/").status == 303
    visitor.sign_in()
    assert visitor.get("/").status == 200


def test_a_header_of_a_stranger_names_nobody(show: Show, app: App) -> None:
    visitor = show(app, sign_in=False, auth_header="X-User", trusted_proxies=("192.0.2.1",))
    assert visitor.get("/", X_User="ann").status == 303


def test_an_app_names_its_users(show: Show, app: App) -> None:
    users = {b"cookie-of-ann": "ann"}

    def authorize(scope: object) -> str | None:
        assert isinstance(scope, dict)
        return users.get(dict(scope["headers"]).get(b"x-session", b""))

    visitor = show(app, sign_in=False, token="", authorize=authorize)
    assert visitor.get("/").status == 401
    assert "ann" in visitor.get("/", X_Session="cookie-of-ann").text


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "no user could sign in"),
        ({"token": "short"}, "has 5 characters"),
        ({"auth_header": "X-User"}, "no trusted proxy"),
        ({"auth_header": "X-User", "trusted_proxies": ("proxy",)}, "is not an address"),
    ],
    ids=["nothing", "short", "no proxy", "a name"],
)
def test_settings_under_which_nobody_or_anybody_signs_in(settings: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        DashboardSettings(**settings)  # type: ignore[arg-type]


def test_the_token_is_not_in_the_repr() -> None:
    assert TOKEN not in repr(DashboardSettings(token=TOKEN))


def test_sessions_expire_and_cannot_be_forged() -> None:
    sessions, now = Sessions(TOKEN), time.time()
    cookie = sessions.issue("ann.b=c", now)
    session = sessions.read(cookie, now)
    assert session is not None
    assert session.user == "ann.b=c"
    assert Sessions(TOKEN).read(cookie, now) == session
    assert sessions.read(cookie, now + SESSION_TTL_S + 1) is None
    assert Sessions("another token of that length").read(cookie, now) is None
    for at in range(0, len(cookie), 7):
        forged = cookie[:at] + ("0" if cookie[at] != "0" else "1") + cookie[at + 1 :]
        assert sessions.read(forged, now) is None
    for odd in ("", ".", "a.b.c.d", "é", "1" * 5000):
        assert sessions.read(odd, now) is None


@pytest.mark.parametrize("root", ["", "/ops", "/ops/queues"])
def test_a_sub_path(show: Show, app: App, root: str) -> None:
    visitor = show(app, root_path=root)
    for path in PAGES:
        text = visitor.get(f"{root}{path}").text
        links = {part.partition('"')[0] for part in text.split('href="')[1:]}
        assert all(link.startswith((f"{root}/", "#")) for link in links), links
    # A proxy may have stripped the path.
    assert visitor.get("/static/dashboard.css").status == 200
    assert visitor.get(f"{root}/static/dashboard.css").status == 200


def test_a_form_that_is_too_long_is_refused(show: Show, app: App) -> None:
    visitor = show(app, allow_actions=True)
    assert visitor.post("/task/revoke", {"csrf": visitor.csrf(), "id": "x" * 2_000_000}).status == 413
    many = [("csrf", visitor.csrf()), *(("id", "x") for _ in range(6000))]
    assert visitor.post("/dead/confirm", many).status == 400


def test_mounted_in_another_app(app: App) -> None:
    def authorize(scope: Mapping[str, Any]) -> str | None:
        return "ann" if dict(scope["headers"]).get(b"x-session") else None

    dashboard = Dashboard(app, DashboardSettings(authorize=authorize, allow_actions=True))
    outer = Starlette(routes=[Mount("/admin/tasks", dashboard)])
    with served(outer) as port:
        visitor = Visitor(port, {"X-Session": "1"})
        for path in PAGES:
            text = visitor.get(f"/admin/tasks{path}").text
            links = {part.partition('"')[0] for part in text.split('href="')[1:]}
            assert all(link.startswith(("/admin/tasks/", "#")) for link in links), links
        assert visitor.get("/admin/tasks/static/dashboard.css").status == 200
        fields = {"csrf": visitor.csrf("/admin/tasks/dead"), "name": "nightly sum"}
        answer = visitor.post("/admin/tasks/periodic/run", fields)
        assert answer.headers["location"].startswith("/admin/tasks/periodic?sent=")
        assert Visitor(port).get("/admin/tasks/").status == 401
    dashboard.close()


def test_nothing_else_imports_the_dashboard() -> None:
    """A worker and the other commands start without Starlette, Jinja and uvicorn."""
    code = (
        "import sys; from click.testing import CliRunner; from gearmesh.cli import main\n"
        "import gearmesh, gearmesh.worker, gearmesh.scheduler\n"
        "print(CliRunner().invoke(main, ['queues', '--help']).exit_code)\n"
        "print(sorted({'starlette', 'jinja2', 'uvicorn', 'gearmesh.web'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "[]"]


def test_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gearmesh.web", None)
    monkeypatch.setitem(sys.modules, "gearmesh.web.server", None)
    done = CliRunner().invoke(main, ["dashboard", "--broker", "redis://127.0.0.1:1"])
    assert done.exit_code == 2
    assert "pip install 'gearmesh[web]'" in done.output


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--broker", "eager"], "a dashboard has nothing to do"),
        (["--broker", "redis://127.0.0.1:1", "--token-file", "/nowhere"], "cannot be read"),
        (["--broker", "redis://127.0.0.1:1", "--auth-header", "X-User"], "no trusted proxy"),
    ],
    ids=["eager", "no file", "no proxy"],
)
def test_wrong_options_of_the_command(args: list[str], what: str) -> None:
    done = CliRunner().invoke(main, ["dashboard", *args])
    assert done.exit_code == 2
    assert what in done.output


def test_servers_that_do_not_answer_are_told(show: Show) -> None:
    with App("redis://user:geheim@127.0.0.1:1", backend="redis://user:geheim@127.0.0.1:1") as app:
        visitor = show(app)
        for path in PAGES:
            answer = visitor.get(path)
            if path not in ("/group", "/periodic"):  # these ask no server
                assert (answer.status, "cannot be reached" in answer.text) == (503, True), path
            assert "geheim" not in answer.text
