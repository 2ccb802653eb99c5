"""Takes the requests of remote control in a supervisor, and replies."""

from __future__ import annotations

import logging
import uuid
from contextlib import closing
from typing import Final

import msgspec

from gearmesh.app.app import App
from gearmesh.backoff import Backoff
from gearmesh.control.line import ControlLine, open_line
from gearmesh.control.messages import Reply, decode_request
from gearmesh.errors import ConfigError, RemoteProtocolError
from gearmesh.service import Service
from gearmesh.worker.commands import Commands

__all__ = ["ControlServer"]

log = logging.getLogger("gearmesh.supervisor")

#: Seconds between two checks whether the thread has to end.
STOP_CHECK_INTERVAL_S: Final = 0.25
#: The longest time, in seconds, between two attempts to connect.
MAX_PAUSE_S: Final = 30.0


class ControlServer:
    """Listens in a thread with a connection of its own. The error of a wrong request is replied, and never raised.

    Args:
        app: names the broker.
        commands: carry requests out.
    """

    def __init__(self, app: App, commands: Commands) -> None:
        self._app = app
        self._commands = commands
        self._instance = uuid.uuid4().hex
        self._service = Service("gearmesh-control", self._loop)

    def start(self) -> None:
        """Listen from now on."""
        self._service.start()

    def stop(self) -> None:
        """Listen no more. A call before :meth:`start`, or a second one, is fine."""
        self._service.stop(2 * STOP_CHECK_INTERVAL_S)

    def _loop(self) -> None:
        backoff = Backoff(0.5, MAX_PAUSE_S)
        while not self._service.stopping.is_set():
            try:
                line = open_line(self._app.config, index=self._app.broker_choice.index, listens=True)
                with closing(line):
                    self._listen(line, backoff)
            except ConfigError as exc:  # asking again would change nothing
                log.info("%s; this worker receives no requests", exc)
                return
            except Exception as exc:  # the server is unreachable, or refuses: tasks run all the same
                backoff.log(log, "remote control: this worker receives no requests", exc)
                self._service.stopping.wait(backoff.next())

    def _listen(self, line: ControlLine, backoff: Backoff) -> None:
        if line.remembers:  # requests may have come while this worker did not listen
            self._commands.set_paused(line.paused())
        while not self._service.stopping.is_set():
            body = line.receive(STOP_CHECK_INTERVAL_S)
            backoff.reset()
            if body is not None:
                self._answer(line, body)

    def _answer(self, line: ControlLine, body: bytes) -> None:
        try:
            request = decode_request(body)
        except RemoteProtocolError as exc:
            log.warning("%s", exc)
            return
        name = self._commands.name
        if request.to and name not in request.to:
            return
        error, data = "", {}
        try:
            data = self._commands.carry_out(request.verb, request.args)
        except ConfigError as exc:
            error = str(exc)
        if request.reply_to:
            reply = Reply(id=request.id, worker=name, instance=self._instance, error=error, data=data)
            line.send(msgspec.json.encode(reply), request.reply_to)
