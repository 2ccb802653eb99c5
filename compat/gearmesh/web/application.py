"""The dashboard as an ASGI app, with its routes behind the guard, for any path."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from gearmesh import __version__
from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.urls import redact_text
from gearmesh.web.desk import Desk
from gearmesh.web.forms import Fields
from gearmesh.web.guard import AUDIT_LOGGER, Guard, route_path, viewer_of
from gearmesh.web.metrics import queue_metrics
from gearmesh.web.pages import ACTIONS, PAGES
from gearmesh.web.pages.action import Done, Refused
from gearmesh.web.settings import DashboardSettings
from gearmesh.web.times import moment, moment_of_text, moment_of_unix

__all__ = ["Dashboard"]

log = logging.getLogger("gearmesh.dashboard")
audit = logging.getLogger(AUDIT_LOGGER)

HERE: Final = Path(__file__).parent
#: Seconds between two events that tell a page to load its numbers again.
TICK_S: Final = 2.0
#: Number of open pages that get these events at the same time.
MAX_LISTENERS: Final = 100
#: The menu: paths and titles.
MENU: Final = (
    ("/", "Overview"),
    ("/failed", "Failed"),
    ("/dead", "Dead letters"),
    ("/delayed", "Delayed"),
    ("/groups", "Groups"),
    ("/workers", "Workers"),
    ("/periodic", "Periodic"),
)


class Dashboard:
    """The dashboard of an app: an ASGI app that may be mounted in another one.

    Args:
        app: the app whose broker and result backend are shown.
        settings: the ways to sign in and the permitted actions.
        root_path: the path at which a reverse proxy serves the dashboard, such as ``/ops``. The proxy may strip this
            path or pass it on. A framework that mounts the dashboard passes the path by itself.
    """

    def __init__(self, app: App, settings: DashboardSettings, *, root_path: str = "") -> None:
        self.desk = Desk(app, settings)
        self._root_path = root_path.rstrip("/")
        self._listeners = 0
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            menu=MENU, version=__version__, moment=moment, of_text=moment_of_text, of_unix=moment_of_unix
        )
        self._templates.filters["mask"] = self.desk.masker.text
        self._guarded = Guard(self._routes(), settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._root_path:
            path = scope["path"]
            inside = path == self._root_path or path.startswith(self._root_path + "/")
            scope = {
                **scope,
                "root_path": self._root_path,
                "path": path if inside else self._root_path + path,
            }
        await self._guarded(scope, receive, send)

    def close(self) -> None:
        """Close the connections to the broker."""
        self.desk.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _routes(self) -> Starlette:
        pages = [Route(path, self._page(name, page)) for path, (name, page) in PAGES.items()]
        actions = [Route(path, self._action(action), methods=["POST"]) for path, action in ACTIONS.items()]
        return Starlette(
            routes=[
                *pages,
                *actions,
                Route("/sign-in", self._sign_in),
                Route("/healthz", lambda request: PlainTextResponse("ok")),
                Route("/events", self._events),
                Route("/metrics", self._metrics),
                Route("/task/payload", self._payload),
                Mount("/static", StaticFiles(directory=HERE / "static")),
            ],
            exception_handlers={404: self._not_found},
        )

    def _page(self, name: str, page: Callable[[Desk, Fields], Mapping[str, Any]]) -> Callable[..., Response]:
        """Make the endpoint of a page. Starlette calls it in a thread, since the readers wait for servers."""

        def endpoint(request: Request) -> Response:
            query = Fields(request.query_params.multi_items())
            try:
                values = page(self.desk, query)
            except GearmeshError as exc:
                return self._render(request, "error", {"message": str(exc), "title": "No answer"}, 503)
            return self._render(request, name, values)

        return endpoint

    def _action(self, action: Callable[[Desk, Fields], Done | Mapping[str, Any]]) -> Callable[..., Response]:
        """Make the endpoint of an action, which writes a line to the audit log. The guard has checked the form."""

        def endpoint(request: Request) -> Response:
            form: Fields = request.state.form
            user = viewer_of(request).user
            address = request.client.host if request.client else ""
            try:
                done = action(self.desk, form)
            except Refused as exc:
                return self._render(request, "error", {"message": str(exc), "title": "Not done"}, 400)
            except GearmeshError as exc:
                told = redact_text(str(exc))
                audit.warning(
                    "failed user=%r address=%r path=%r error=%r", user, address, request.url.path, told
                )
                return self._render(request, "error", {"message": str(exc), "title": "Not done"}, 503)
            if not isinstance(done, Done):
                return self._render(request, str(done["template"]), done)
            self.desk.changed()
            audit.info("%s user=%r address=%r", done.audit, user, address)
            query = f"?{urlencode(done.query)}" if done.query else ""
            return RedirectResponse(_base(request) + done.path + query, 303)

        return endpoint

    def _render(
        self, request: Request, name: str, values: Mapping[str, Any], status: int = 200
    ) -> HTMLResponse:
        base = _base(request)

        def url(path: str, **query: Any) -> str:
            given = {key: value for key, value in query.items() if value not in ("", None)}
            return f"{base}{path}" + (f"?{urlencode(given)}" if given else "")

        live = Fields(request.query_params.multi_items()).text("live") != "off"
        common = {
            "url": url,
            "viewer": viewer_of(request),
            "path": route_path(request.scope),
            "here": base + route_path(request.scope) + (f"?{request.url.query}" if request.url.query else ""),
            "query": {key: value for key, value in request.query_params.items() if key != "live"},
            "live": live and request.method != "POST",
            "broker": self.desk.broker.address,
            "backend": self.desk.states.address,
        }
        text = self._templates.get_template(f"{name}.html").render({**common, **values})
        return HTMLResponse(text, status)

    def _not_found(self, request: Request, exc: Exception) -> Response:
        if not hasattr(request.state, "viewer"):
            return PlainTextResponse("not found", 404)
        return self._render(
            request, "error", {"title": "Not found", "message": "There is no such page."}, 404
        )

    def _metrics(self, request: Request) -> Response:
        """Serve the numbers of queues to Prometheus."""
        try:
            text, content_type = queue_metrics(self.desk, request.headers.get("accept", ""))
        except GearmeshError as exc:
            return PlainTextResponse(redact_text(str(exc)), 503)
        return Response(text, media_type=content_type)

    def _sign_in(self, request: Request) -> Response:
        if viewer_of(request).user:
            return RedirectResponse(_base(request) + "/", 303)
        values = {"wrong": "wrong" in request.query_params, "next": request.query_params.get("next", "/")}
        return self._render(request, "sign_in", values)

    def _payload(self, request: Request) -> Response:
        """Serve the whole message of a task, masked, as a file to save."""
        from gearmesh.web.pages.task import payload

        try:
            text = payload(self.desk, Fields(request.query_params.multi_items()))
        except GearmeshError as exc:
            return PlainTextResponse(redact_text(str(exc)), 503)
        headers = {"content-disposition": "attachment; filename=task.json"}
        return PlainTextResponse(text, headers=headers) if text else PlainTextResponse("not found", 404)

    async def _events(self, request: Request) -> Response:
        """Tell a browser every two seconds to load the page's numbers again, until it closes the page."""
        if self._listeners >= MAX_LISTENERS:
            return PlainTextResponse("too many pages are open", 503)
        return StreamingResponse(self._ticks(request.is_disconnected), media_type="text/event-stream")

    async def _ticks(self, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        self._listeners += 1
        try:
            yield "retry: 5000\n\n"
            while not await gone():
                await asyncio.sleep(TICK_S)
                yield "event: tick\ndata: look\n\n"
        finally:
            self._listeners -= 1


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
