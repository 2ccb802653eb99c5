"""The small parent of every ``gearmesh worker``.

It heartbeats while its child lives (a task that holds the GIL for a minute keeps its lease), restarts it with
growing pauses, and puts back at once what a dead child held.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import kombu

from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.pauses import Pauses
from gearmesh.transports.redis.ledger import consumer_name
from gearmesh.transports.registry import open_connection
from gearmesh.worker.child import EXIT_CONFIG
from gearmesh.worker.loader import load_app
from gearmesh.worker.options import WorkerOptions

__all__ = ["Supervisor", "run"]

log = logging.getLogger("gearmesh.supervisor")

#: A child that lived this many seconds was not a failed start: pauses begin anew.
STEADY = 60.0
#: Seconds beyond the grace time before a child that does not end is killed.
PATIENCE = 10.0


def run(spec: str, options: WorkerOptions) -> int:
    """Supervise a worker for the app ``spec`` until a signal ends it; an exit code.

    Raises:
        GearmeshError: the app can't be loaded, or (unless ``wait_for_broker``) broker or backend not be reached.
    """
    app = load_app(spec)
    if options.lease is not None:
        app.config = dataclasses.replace(app.config, lease=options.lease)
    return Supervisor(app, spec, options).run()


class Lifeline:
    """The parent's connection to the broker: heartbeats for the child, and settling after its death."""

    def __init__(self, app: App, queues: tuple[str, ...]) -> None:
        self._app = app
        self._queues = queues
        self._connection: kombu.Connection | None = None
        self._channel: Any = None

    def connect(self) -> None:
        """Raises GearmeshError if the broker can't be reached now."""
        config = self._app.config
        self._connection = open_connection(config.broker, options={"delayed_key": config.delayed_tasks_key})
        try:
            self._channel = self._connection.channel()
        except self._connection.connection_errors as exc:
            self.close()
            raise GearmeshError(f"broker {self._app.shown_broker} cannot be reached: {exc}") from exc

    def heartbeat(self, consumer: str) -> bool:
        """False if it did not get through."""
        return self._try(lambda channel: channel.heartbeat(consumer, self._queues))

    def settle(self, consumer: str, *, suspect: bool) -> bool:
        """Put back what ``consumer`` held; False if the broker can't be reached."""

        def recover(channel: Any) -> None:
            count = channel.recover(consumer, self._queues, suspect=suspect)
            if count:
                log.warning("%d messages of the dead child go back to their queues", count)

        return self._try(recover)

    def _try(self, act: Any) -> bool:
        try:
            if self._channel is None:
                self.connect()
            act(self._channel)
        except GearmeshError as exc:
            log.warning("%s", exc)
            return False
        except self._errors() as exc:
            log.warning("broker %s: %s", self._app.shown_broker, exc)
            self.close()
            return False
        return True

    def _errors(self) -> tuple[type[BaseException], ...]:
        return () if self._connection is None else tuple(self._connection.connection_errors)

    def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                connection.close()
            except Exception as exc:
                log.debug("closing a broken connection: %s", exc)


class Child:
    """One run of the worker process."""

    def __init__(self, spec: str, options: WorkerOptions, news: threading.Event) -> None:
        self.consumer = options.consumer_tag or consumer_name()
        self.started_at = time.monotonic()
        setup = {"spec": spec, "options": dataclasses.asdict(options), "consumer": self.consumer}
        # A session of its own: the terminal's Ctrl-C reaches the parent alone, which passes it on once.
        # The pipe tells the child that its parent lives.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gearmesh.worker.child", json.dumps(setup)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

        def wait() -> None:
            self.process.wait()
            news.set()

        threading.Thread(target=wait, name="gearmesh-child", daemon=True).start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.returncode

    def end(self) -> None:
        """Ask it to stop; the second time, to leave now."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()


class Supervisor:
    """See the module."""

    def __init__(self, app: App, spec: str, options: WorkerOptions) -> None:
        self._app = app
        self._spec = spec
        self._options = options
        queues = tuple(dict.fromkeys(options.queues or (app.config.default_queue,)))
        self._line = Lifeline(app, queues)
        self._news = threading.Event()
        self._signals = 0
        self._beat = app.config.lease / 3

    def run(self) -> int:
        """Until a signal ends it; an exit code."""
        before = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            if not self._reach():
                return 0
            return self._supervise()
        finally:
            self._line.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ending(self) -> bool:
        return self._signals > 0

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        self._news.set()

    def _reach(self) -> bool:
        """Reach broker and backend once before anything is started; False if a signal came first."""
        pauses = Pauses(0.2)
        while not self._ending():
            try:
                self._line.connect()
                self._app.check_backend()
                return True
            except GearmeshError as exc:
                if not self._options.wait_for_broker:
                    raise
                pauses.log(log, "waiting", exc)
                self._news.wait(pauses.next())
        return False

    def _supervise(self) -> int:
        pauses = Pauses(0.1, 30.0)
        while not self._ending():
            self._news.clear()
            child = Child(self._spec, self._options, self._news)
            self._attend(child)
            code = child.code
            if code == EXIT_CONFIG:
                return 2
            if code == 0:
                if not self._ending():
                    continue
                return 0
            self._settle(child)
            if self._ending():
                return 0
            if time.monotonic() - child.started_at > STEADY:
                pauses.reset()
            pause = pauses.next()
            log.error("worker process ended with %s; a new one starts in %g s", _shown(code), pause)
            self._news.clear()
            self._news.wait(pause)
        return 0

    def _attend(self, child: Child) -> None:
        """Heartbeat for the child and pass signals on, until it has ended."""
        passed = 0
        kill_at = float("inf")
        next_beat = 0.0
        while child.code is None:
            now = time.monotonic()
            if now >= next_beat:
                reached = self._line.heartbeat(child.consumer)
                next_beat = time.monotonic() + (self._beat if reached else min(1.0, self._beat))
            while passed < min(self._signals, 2):
                passed += 1
                child.end()
                kill_at = now + (self._options.grace if passed == 1 else 0.0) + PATIENCE
            if now >= kill_at:
                log.error("worker process did not end in time and is killed")
                child.kill()
                kill_at = float("inf")
            self._news.wait(max(0.0, min(next_beat, kill_at) - time.monotonic()))
            self._news.clear()

    def _settle(self, child: Child) -> None:
        """What a dead child held goes back at once: the parent knows, no lease has to end."""
        pauses = Pauses()
        while not self._line.settle(child.consumer, suspect=not self._signals):
            if self._ending():  # the reapers of others will do it
                return
            self._news.wait(pauses.next())


def _shown(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
