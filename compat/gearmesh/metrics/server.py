"""Answers GET /metrics, and the probes of an orchestrator, in threads of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from gearmesh.errors import ConfigError
from gearmesh.service import Service

__all__ = ["Answer", "MetricsServer"]

log = logging.getLogger("gearmesh.metrics")

#: Seconds for one request.
REQUEST_TIMEOUT_S: Final = 10.0

#: Takes the ``Accept`` header, and returns a status, a body and a content type.
Answer = Callable[[str], tuple[int, bytes, str]]


class MetricsServer:
    """Serves the metrics and probes over HTTP.

    Args:
        host, port: the address to listen on; port 0 takes a free one.
        pages: the answers by path.

    Raises:
        ConfigError: the system does not let this process listen on the address.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_TIMEOUT_S
            server_version, sys_version = "gearmesh", ""

            def do_GET(self) -> None:
                _answer(self, pages)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                log.debug(format, *args)

        try:
            self._server = _Server((host, port), Handler)
        except (OSError, OverflowError) as exc:
            raise ConfigError(f"metrics: cannot listen on {host}:{port}: {exc}") from exc
        self._service = Service("gearmesh-metrics", lambda: self._server.serve_forever(0.5), self._shut_down)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer requests from now on."""
        self._service.start()

    def stop(self) -> None:
        """Close the port. A call before :meth:`start`, or a second one, is fine."""
        self._service.stop(5.0)
        self._server.server_close()

    def _shut_down(self) -> None:
        if self._service.started:
            self._server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _answer(request: BaseHTTPRequestHandler, pages: Mapping[str, Answer]) -> None:
    page = pages.get(request.path.partition("?")[0])
    try:
        status, body, content_type = (
            (404, b"not found\n", "text/plain") if page is None else page(request.headers.get("Accept", ""))
        )
    except Exception as exc:
        log.exception("%s cannot be answered", request.path)
        status, body, content_type = 500, f"{type(exc).__name__}\n".encode(), "text/plain"
    request.send_response(status)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
