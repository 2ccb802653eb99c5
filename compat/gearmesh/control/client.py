"""Asks all workers, and collects their replies."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

import msgspec

from gearmesh.app.app import App
from gearmesh.control.line import ControlLine, open_line
from gearmesh.control.messages import Reply, Request, check, decode_reply
from gearmesh.errors import GearmeshError, RemoteProtocolError
from gearmesh.urls import redact_text

__all__ = ["REPLY_TIMEOUT_S", "ControlClient"]

#: Seconds to wait for replies.
REPLY_TIMEOUT_S: Final = 1.0
#: Seconds to wait for one more worker of a name, once all names have replied.
LAST_REPLY_TIMEOUT_S: Final = 0.05


class ControlClient:
    """Asks the workers of an app's broker, and collects their replies. Safe in threads: each question has a connection
    of its own.

    Args:
        app: names the broker.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def ask(
        self,
        verb: str,
        args: dict[str, str | int] | None = None,
        *,
        to: Sequence[str] = (),
        timeout: float = REPLY_TIMEOUT_S,
    ) -> list[Reply]:
        """Send a request, and return the replies that come within ``timeout`` seconds, by worker.

        On Redis it ends as soon as all workers that listen have replied; RabbitMQ does not say how many there are.

        Args:
            verb: one of :data:`~.messages.VERBS`.
            args: its arguments.
            to: names of the workers that it is for; empty: all.
            timeout: seconds.

        Raises:
            ConfigError: verb or arguments are wrong, or workers on this broker cannot be asked.
            GearmeshError: the broker is unreachable, or refuses the request.
        """
        given = dict(args or {})
        check(verb, given)
        with self._line() as line:
            if verb in ("pause", "resume") and not to:
                line.remember(str(given["kind"]), str(given["name"]), verb == "pause")
            request = Request(id=uuid.uuid4().hex, verb=verb, args=given, to=tuple(to), reply_to=line.address)
            expected = line.send(msgspec.json.encode(request))
            return self._replies(line, request, expected, timeout)

    def paused(self) -> set[tuple[str, str]]:
        """Read the (kind, name) pairs that are paused for workers that start later. Raises as :meth:`ask`."""
        with self._line() as line:
            return line.paused()

    def _replies(
        self, line: ControlLine, request: Request, expected: int | None, timeout: float
    ) -> list[Reply]:
        deadline = time.monotonic() + timeout
        found: dict[str, Reply] = {}
        wanted = len(request.to) if request.to else expected
        while (left := deadline - time.monotonic()) > 0:
            complete = wanted is not None and len(found) >= wanted
            if complete and not request.to:
                break
            # Several workers may share a name, so more workers may reply than there are names.
            body = line.receive(min(left, LAST_REPLY_TIMEOUT_S) if complete else left)
            if body is None:
                break
            try:
                reply = decode_reply(body)
            except RemoteProtocolError:  # another program's message
                continue
            if reply.id == request.id:
                found[reply.instance or reply.worker] = reply
        return sorted(found.values(), key=lambda reply: (reply.worker, reply.instance))

    @contextmanager
    def _line(self) -> Iterator[ControlLine]:
        app = self._app
        errors: tuple[type[BaseException], ...] = (OSError,)
        try:
            line = open_line(app.config, index=app.broker_choice.index)
            errors = line.connection_errors
            with closing(line):
                yield line
        except GearmeshError:
            raise
        except Exception as exc:
            if not isinstance(exc, errors) and not _is_of_a_server(exc):
                raise
            reason = redact_text(str(exc)) or type(exc).__name__
            raise GearmeshError(
                f"broker {app.masked_broker} cannot be asked for its workers: {reason}"
            ) from exc


def _is_of_a_server(exc: Exception) -> bool:
    """True for an error of redis-py or py-amqp: the server is unreachable, or does not allow the request."""
    return type(exc).__module__.partition(".")[0] in ("redis", "amqp")
