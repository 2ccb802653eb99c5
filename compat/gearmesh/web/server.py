"""Runs the dashboard with uvicorn until a signal stops it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Final

import uvicorn

from gearmesh.errors import GearmeshError
from gearmesh.web.application import Dashboard

__all__ = ["serve"]

#: Seconds for which open requests may go on when the server stops; the request of a live page never ends by itself.
STOP_S: Final = 1
#: Number of requests at the same time; uvicorn refuses more, so that memory stays bounded.
MAX_REQUESTS: Final = 200


def serve(dashboard: Dashboard, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        dashboard: the ASGI app.
        host: an address, or a name for it.
        port: the port; 0: any free port.
        announce: is called with a line that has the address.

    Raises:
        GearmeshError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # before the address is announced, so that a reader of the line can connect at once
        except OSError as exc:
            raise GearmeshError(f"dashboard: {host}:{port} cannot be used: {exc.strerror or exc}") from exc
        shown = f"[{host}]" if ":" in host else host
        announce(f"dashboard: http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            dashboard,
            log_config=None,
            log_level="warning",
            access_log=False,
            # The guard decides by itself whether to believe a proxy.
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_REQUESTS,
            timeout_graceful_shutdown=STOP_S,
            lifespan="on",
        )
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
