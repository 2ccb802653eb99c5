"""Carries requests and replies over Redis' pub/sub."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any, Final

from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.wire.names import PAUSED, control_channel, control_reply_channel

__all__ = ["RedisLine"]

#: The number of paused names to read; further ones are ignored.
MAX_PAUSED: Final = 1000


class RedisLine:
    """Carries requests and replies over Redis; a :class:`gearmesh.control.line.ControlLine`.

    Args:
        access: the server, and how connections to it are made.
        listens: subscribe to requests, too.
    """

    connection_errors = CONNECTION_ERRORS
    remembers = True

    def __init__(self, access: ConnectionSettings, *, listens: bool) -> None:
        self.address = control_reply_channel(uuid.uuid4().hex)
        self._channel = control_channel(access.db)
        self._redis: Any = access.client()
        self._pubsub: Any = None
        try:
            self._pubsub = self._redis.pubsub()
            self._pubsub.subscribe(self.address, *([self._channel] if listens else []))
            # Wait until Redis has subscribed this line, since a reply may follow its request at once.
            for _ in range(1 + listens):
                while self._pubsub.get_message(timeout=access.settings.socket_timeout or 15.0) is None:
                    pass
        except BaseException:
            self.close()
            raise

    def send(self, body: bytes, to: str = "") -> int | None:
        count: int = self._redis.publish(to or self._channel, body)
        return count

    def receive(self, timeout: float) -> bytes | None:
        deadline = time.monotonic() + timeout
        while True:
            message = self._pubsub.get_message(timeout=max(0.0, deadline - time.monotonic()))
            if message is not None and message["type"] == "message":
                body: bytes = message["data"]
                return body
            if message is None and time.monotonic() >= deadline:
                return None

    def paused(self) -> set[tuple[str, str]]:
        _, found = self._redis.hscan(PAUSED, count=MAX_PAUSED)
        pairs = (field.decode("utf-8", "replace").partition(":") for field in found)
        return {(kind, name) for kind, _, name in pairs if kind in ("queue", "task")}

    def remember(self, kind: str, name: str, paused: bool) -> None:
        if paused:
            self._redis.hset(PAUSED, f"{kind}:{name}", int(time.time()))
        else:
            self._redis.hdel(PAUSED, f"{kind}:{name}")

    def close(self) -> None:
        with contextlib.suppress(*CONNECTION_ERRORS):
            if self._pubsub is not None:
                self._pubsub.close()
            hang_up(self._redis)
