"""Stands before every page: signs users in, checks forms, refuses changes while read-only, and sets the headers."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gearmesh.web.forms import Fields
from gearmesh.web.sessions import SESSION_TTL_S, Session, Sessions
from gearmesh.web.settings import DashboardSettings

__all__ = ["AUDIT_LOGGER", "Guard", "Viewer", "route_path"]

log = logging.getLogger("gearmesh.dashboard")
#: The logger that has a line for each sign-in and each action.
AUDIT_LOGGER: Final = "gearmesh.dashboard.audit"
audit = logging.getLogger(AUDIT_LOGGER)

COOKIE: Final = "gearmesh_dashboard"
#: Bytes of a form; the guard refuses longer ones.
MAX_FORM_BYTES: Final = 1_000_000
#: Number of wrong tokens in a minute after which the guard refuses every token until that minute is over.
MAX_WRONG_TOKENS: Final = 10
#: Seconds after which a wrong token is answered, against guessing.
WRONG_TOKEN_DELAY_S: Final = 0.5
#: Paths that need no user.
PUBLIC: Final = ("/sign-in", "/healthz")
#: Paths that a program may read if it sends the token as ``Authorization: Bearer``.
FOR_PROGRAMS: Final = ("/metrics",)
#: POSTs that change nothing in a server.
HARMLESS: Final = ("/sign-in", "/sign-out")
_HERE: Final = ("127.0.0.1", "localhost", "[::1]")

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Viewer(NamedTuple):
    """The user of a request and the user's permissions.

    Attributes:
        user: the name; ``""``: no user has signed in.
        csrf: the CSRF token for the forms of the page.
        can_act: True if the user may use the dashboard's actions.
        signs_out: True if the user signed in with the token, and so can sign out.
    """

    user: str = ""
    csrf: str = ""
    can_act: bool = False
    signs_out: bool = False


def route_path(scope: Scope) -> str:
    """The path of a request below the path at which the dashboard is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] or "/" if root and path.startswith(root) else path


class Guard:
    """Signs users in and checks every request: an ASGI middleware.

    Args:
        app: the routes. They find a :class:`Viewer` in ``request.state.viewer``, and the checked fields of a form in
            ``request.state.form``.
        settings: the ways to sign in.
    """

    def __init__(self, app: ASGIApp, settings: DashboardSettings) -> None:
        self._app = app
        self._settings = settings
        #: sessions of users who signed in with the token, and of users whom a proxy or the surrounding app names
        self._sessions = Sessions(settings.token)
        self._named_sessions = Sessions(settings.token, "named")
        #: times of wrong tokens, on the monotonic clock
        self._wrong: list[float] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        static = route_path(scope).startswith("/static/")
        cookies: list[str] = []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                for cookie in cookies:
                    headers.append("set-cookie", cookie)
                headers["cache-control"] = "public, max-age=86400" if static else "no-store"
            await send(message)

        if static:
            await self._app(scope, receive, send_with_headers)
            return
        try:
            answer = await self._checked(request, cookies)
        except (
            ValueError
        ) as exc:  # from the function authorize of the settings, or for a form with too many fields
            answer = PlainTextResponse(f"refused: {exc}", 400)
        if answer is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await answer(scope, receive, send_with_headers)

    async def _checked(self, request: Request, cookies: list[str]) -> Response | None:
        """Check a request: return the answer if it must not reach its page, or None if it may.

        Args:
            request: the request.
            cookies: a list to which the cookie of a new session is appended.
        """
        path = route_path(request.scope)
        posted = request.method == "POST"
        if request.method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("method not allowed", 405)
        form = Fields()
        if posted:
            if not _same_origin(request):
                return PlainTextResponse("refused: the form comes from another site", 403)
            body = await _limited_body(request)
            if body is None:
                return PlainTextResponse("refused: the form is too long", 413)
            form = Fields.parse(body)
        if posted and path == "/sign-in":
            return await self._sign_in(request, form)
        session, own = await self._session(request, cookies)
        if session is None:
            if path in PUBLIC or (path in FOR_PROGRAMS and self._has_bearer(request)):
                request.scope.setdefault("state", {}).update(viewer=Viewer(), form=form)
                return None
            return self._to_sign_in(request)
        sessions = self._sessions if own else self._named_sessions
        if posted and not sessions.csrf_fits(session, form.exact("csrf")):
            audit.warning("refused user=%r path=%r reason=csrf", session.user, path)
            return PlainTextResponse("refused: the form has no valid CSRF token; load the page again", 403)
        if posted and path == "/sign-out":
            audit.info("signed out user=%r", session.user)
            answer = RedirectResponse(_root(request) + "/sign-in", 303)
            answer.delete_cookie(COOKIE, path=_root(request) or "/")
            return answer
        if posted and path not in HARMLESS and not self._settings.allow_actions:
            audit.warning("refused user=%r path=%r reason=read-only", session.user, path)
            return PlainTextResponse(
                "refused: this dashboard is read-only (start it with --allow-actions)", 403
            )
        viewer = Viewer(session.user, sessions.csrf(session), self._settings.allow_actions, own)
        request.scope.setdefault("state", {}).update(viewer=viewer, form=form)
        return None

    async def _session(self, request: Request, cookies: list[str]) -> tuple[Session | None, bool]:
        """The session of a request (None: not signed in), and True if the user signed in with the token."""
        settings = self._settings
        cookie = request.cookies.get(COOKIE, "")
        user: str | None = None
        if settings.authorize is not None:
            user = await run_in_threadpool(settings.authorize, request.scope)
        if (
            not user
            and settings.auth_header
            and settings.trusts(request.client.host if request.client else "")
        ):
            user = request.headers.get(settings.auth_header)
        if user:
            kept = self._named_sessions.read(cookie, time.time())
            if kept is not None and kept.user == user:
                return kept, False
            value = self._named_sessions.issue(user, time.time())
            cookies.append(self._cookie(request, value))
            return self._named_sessions.read(value, time.time()), False
        session = self._sessions.read(cookie, time.time()) if settings.token else None
        return session, session is not None

    def _has_bearer(self, request: Request) -> bool:
        """True if a program sends the dashboard's token. A wrong token counts as a failed attempt to sign in."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = self._settings.token.encode()
        if scheme.lower() != "bearer" or not right or self._locked():
            return False
        if hmac.compare_digest(given.strip().encode(), right):
            return True
        self._wrong.append(time.monotonic())
        return False

    def _locked(self) -> bool:
        """True if too many wrong tokens came in the last minute."""
        now = time.monotonic()
        self._wrong = [at for at in self._wrong if now - at < 60]
        return len(self._wrong) >= MAX_WRONG_TOKENS

    def _to_sign_in(self, request: Request) -> Response:
        if not self._settings.token or request.method == "POST":
            return PlainTextResponse("refused: you are not signed in", 401)
        here = route_path(request.scope)
        query = f"?{request.url.query}" if request.url.query else ""
        target = f"{_root(request)}/sign-in"
        if here == "/events" or here in FOR_PROGRAMS:
            return PlainTextResponse("sign in", 401)
        if request.headers.get("hx-request"):
            return PlainTextResponse("sign in", 401, headers={"HX-Redirect": target})
        if here != "/":
            target += f"?next={quote(here + query, safe='')}"
        return RedirectResponse(target, 303)

    async def _sign_in(self, request: Request, form: Fields) -> Response:
        """Compare the token and begin a session."""
        root = _root(request)
        if self._locked():
            return PlainTextResponse("too many wrong tokens; wait for a minute", 429)
        right = self._settings.token.encode()
        if not right or not hmac.compare_digest(form.text("token").encode(), right):
            self._wrong.append(time.monotonic())
            audit.warning("refused sign-in address=%r", request.client.host if request.client else "")
            await asyncio.sleep(WRONG_TOKEN_DELAY_S)
            return RedirectResponse(f"{root}/sign-in?wrong=1", 303)
        if not self._keeps_cookie(request):
            return PlainTextResponse(
                "refused: without TLS the browser would not keep the session; use https, or start the dashboard with "
                "--allow-http",
                400,
            )
        audit.info("signed in user=%r address=%r", TOKEN_USER, request.client.host if request.client else "")
        wanted = form.exact("next")
        # Only a path of this site is allowed: //host would lead to another site.
        inside = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
        answer = RedirectResponse(root + (wanted if inside else "/"), 303)
        answer.headers["set-cookie"] = self._cookie(request, self._sessions.issue(TOKEN_USER, time.time()))
        return answer

    def _cookie(self, request: Request, value: str) -> str:
        """Make the header that lets the browser keep a session."""
        secure = "; Secure" if self._secure(request) else ""
        path = _root(request) or "/"
        return f"{COOKIE}={value}; Max-Age={SESSION_TTL_S}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    def _secure(self, request: Request) -> bool:
        """True if the cookie must be Secure. Without TLS it need not be, on this machine or by the settings."""
        return self._has_tls(request) or not (self._settings.allow_http or _host(request) in _HERE)

    def _keeps_cookie(self, request: Request) -> bool:
        return self._has_tls(request) or not self._secure(request)

    def _has_tls(self, request: Request) -> bool:
        proxied = self._settings.trusts(request.client.host if request.client else "")
        return request.url.scheme == "https" or (
            proxied and request.headers.get("x-forwarded-proto", "") == "https"
        )


#: The name of users who signed in with the token.
TOKEN_USER: Final = "token"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _host(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _same_origin(request: Request) -> bool:
    """False if the browser says that a page of another site has sent the form."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


async def _limited_body(request: Request) -> bytes | None:
    """The body of a form; None if it is too long."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_FORM_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def viewer_of(request: Request) -> Viewer:
    """The user of a request that has passed the guard."""
    viewer: Any = request.state.viewer
    return viewer if isinstance(viewer, Viewer) else Viewer()
