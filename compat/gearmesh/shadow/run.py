"""One shadow run: consumes copies, runs trials, and compares them with the stored states."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from uuid import uuid4

from gearmesh.app.app import App
from gearmesh.app.eager import error_text
from gearmesh.errors import BackendError, ConfigError
from gearmesh.shadow.comparison import Outcome, compare
from gearmesh.shadow.copies import SHADOW_QUEUE
from gearmesh.shadow.report import ShadowReport
from gearmesh.shadow.trial import shadow_task
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, RECEIVED, STARTED, SUCCESS, TaskState
from gearmesh.worker.task_log import without_lines_of
from gearmesh.worker.worker import Worker

__all__ = ["ShadowRun"]

#: Seconds between two reads of an awaited state at first; later, a share of the time for which the run has awaited it.
#: DynamoDB charges for each read, and while one program reads a state in RabbitMQ, no other finds it.
POLL_INTERVAL_S: Final = 0.02
POLL_INTERVAL_SHARE: Final = 0.05
#: States that are read at once.
MAX_READ_STATES: Final = 200
#: Seconds for which the run waits for the final state of the real worker.
ANSWER_TIMEOUT_S: Final = 60.0


class ShadowRun:
    """Compares the Python version of some tasks with their real workers. A context manager.

    While it runs, the app under test uses a broker and a backend inside this process, so that no message or result of a
    trial leaves the process.

    Args:
        app: the app with the Python versions; its settings name the deployment's broker and backend.
        tasks: names of its tasks.
        report: the report that gets the outcomes.
        shadow_queue: the queue of the copies.
        concurrency: number of trials at the same time.
        answer_timeout: seconds for which the run waits for a final state.

    Raises:
        ConfigError: a task is not in the app, or the backend keeps no results.
    """

    def __init__(
        self,
        app: App,
        tasks: Collection[str],
        report: ShadowReport,
        *,
        shadow_queue: str = SHADOW_QUEUE,
        concurrency: int = 4,
        answer_timeout: float = ANSWER_TIMEOUT_S,
    ) -> None:
        missing = sorted(set(tasks) - set(app.tasks))
        if missing:
            raise ConfigError(
                f"tasks {', '.join(missing)} are not in the app, expected some of {sorted(app.tasks)}; "
                "a shadow run needs the name of the Go task"
            )
        if not app.keeps_results:
            raise ConfigError("the backend keeps no results, so there is nothing to compare with")
        self._app = app
        self._tasks = {name: app.tasks[name] for name in tasks}
        self._report = report
        self._queue = shadow_queue
        self._concurrency = concurrency
        self._answer_timeout = answer_timeout
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}
        self._stop = threading.Event()

    def __enter__(self) -> ShadowRun:
        deployment = self._app.config
        inside = f"memory://shadow-{uuid4().hex}"
        self._before = self._app.reopen(
            deployment.having({"broker": inside, "backend": inside, "lock": None})
        )
        self._reader = App(config=deployment)
        # It keeps the deployment's default queue: RabbitMQ binds a default queue with the key of all default tasks.
        self._copies = App(config=deployment.having({"backend": "null"}))
        for task in self._tasks.values():
            self._copies.register_task(shadow_task(self._copies, task, self._begin, self._done))
        self._copies.on_error(self._unrunnable)
        self._quiet = ExitStack()
        self._quiet.enter_context(without_lines_of(self._copies.tasks))  # the report has the failures
        self._worker = Worker(self._copies, [self._queue], self._concurrency, task_log_limit=0).start()
        self._thread = threading.Thread(target=self._compare_all, name="gearmesh-shadow", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._worker.stop()
        self._quiet.close()
        self._stop.set()
        self._thread.join()
        for app in (self._copies, self._reader):
            app.close()
        self._app.reopen(self._before)

    def wait(self, count: int | None, seconds: float | None) -> None:
        """Wait until ``count`` calls have ended or ``seconds`` have passed; None: no such bound."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (count is None or self._report.ended < count) and (
            deadline is None or time.monotonic() < deadline
        ):
            self._stop.wait(POLL_INTERVAL_S)

    def _begin(self, uuid: str) -> None:
        """Begin to watch the state of a call with its trial: the real worker runs the call at about the same time."""
        with self._lock:
            self._calls[uuid] = _Call(time.monotonic() + self._answer_timeout)

    def _done(self, outcome: Outcome) -> None:
        with self._lock:
            call = self._calls.setdefault(outcome.uuid, _Call(0.0))
            call.outcome = outcome
            call.until = time.monotonic() + self._answer_timeout

    def _unrunnable(self, sig: Signature, exc: BaseException) -> None:
        """Count a call as crashed if the Python version refuses its arguments; a trial itself never raises."""
        self._done(Outcome(sig.UUID, sig.Name, 0.0, None, error_text(exc), type(exc).__name__))

    def _compare_all(self) -> None:
        """Read the states of the calls until the run is over."""
        while not self._stop.wait(POLL_INTERVAL_S):
            now = time.monotonic()
            with self._lock:
                due = (uuid for uuid, call in self._calls.items() if call.read_at <= now)
                batch = list(islice(due, MAX_READ_STATES))
            if not batch:
                continue
            try:
                states = self._reader.states(batch)
            except BackendError:
                continue
            now = time.monotonic()
            with self._lock:
                for uuid, state in zip(batch, states, strict=True):
                    self._look(uuid, state, now)

    def _look(self, uuid: str, state: TaskState | None, now: float) -> None:
        """Compare a call if its trial and its real run have ended. The caller holds the lock."""
        call = self._calls.pop(uuid)
        if state is not None and call.final is None:
            if state.State in (SUCCESS, FAILURE):
                call.final = state
                call.took = None if call.begun is None else now - call.begun
            elif state.State in (RECEIVED, STARTED) and call.begun is None:
                call.begun = now
        outcome = call.outcome
        if outcome is not None and call.final is not None:
            verdict, why = compare(outcome, call.final)
            self._report.add(outcome.task, uuid, verdict, why, outcome.seconds, call.took)
        elif outcome is not None and now > call.until:
            self._report.add_unanswered(outcome.task)
        else:
            call.read_at = now + max(POLL_INTERVAL_S, POLL_INTERVAL_SHARE * (now - call.since))
            self._calls[uuid] = call  # at the end, so that the next batch begins with the others


@dataclass
class _Call:
    """One call: its trial, and the real run as its states show it. Times are monotonic seconds."""

    until: float
    since: float = field(default_factory=time.monotonic)
    read_at: float = 0.0
    outcome: Outcome | None = None
    begun: float | None = None
    final: TaskState | None = None
    took: float | None = None
