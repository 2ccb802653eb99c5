"""A dashboard that is served by uvicorn in a thread, and a visitor without a browser."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import urlencode

import uvicorn

from gearmesh.testing.waiting import eventually

TOKEN = "a token of the tests, long enough"


class Answer(NamedTuple):
    """An answer of the dashboard."""

    status: int
    headers: Mapping[str, str]
    text: str


class Visitor:
    """Keeps cookies, and follows no redirect by itself."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self.headers = dict(headers or {})
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, fields: Any, **headers: str) -> Answer:
        return self.ask("POST", path, urlencode(fields), headers)

    def ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for line in answer.headers.get_all("set-cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, text)

    def sign_in(self, token: str = TOKEN) -> Answer:
        return self.post("/sign-in", {"token": token})

    def csrf(self, path: str = "/") -> str:
        """The token in the forms of a page."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)
        assert found is not None
        return found[1]


@contextmanager
def served(asgi: Any) -> Iterator[int]:
    """Serve an ASGI app on a free port; give the port."""
    config = uvicorn.Config(
        asgi, port=0, log_config=None, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="dashboard", daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, what="the dashboard")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
