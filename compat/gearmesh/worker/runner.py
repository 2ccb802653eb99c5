"""From a job to the Commit that says what became of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from gearmesh.app.app import App
from gearmesh.app.context import RUNNING
from gearmesh.app.declaration import ArgumentUnreadable
from gearmesh.app.eager import error_text
from gearmesh.errors import LocalProtocolError, RetryLater
from gearmesh.pauses import Pauses
from gearmesh.wire import workflow
from gearmesh.wire.codec import encode
from gearmesh.wire.commit import ChordCheck, Commit, Publish, Settle, Trigger
from gearmesh.wire.gotime import format_ns, parse
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, TaskResult, TaskState
from gearmesh.worker.job import Job

__all__ = ["Loop", "Runner"]

log = logging.getLogger("gearmesh.worker")

#: How often a redelivered task's state is asked for, within 1.5 s, before its message goes back.
TRIES = 5


class Loop:
    """An event loop in a thread of its own, started at the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run to the end; blocks the calling thread."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="gearmesh-loop", daemon=True
                )
                self._thread.start()
        value, exc = asyncio.run_coroutine_threadsafe(_outcome(coroutine), self._loop).result()
        if exc is not None:
            raise exc
        return value

    def stop(self, timeout: float = 5.0) -> None:
        """Cancel what runs and end the thread, within seconds. Stopping twice, or before any coroutine, is fine."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(timeout)
                self._loop = self._thread = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """Let no exception through: SystemExit would end the loop, and all coroutines with it."""
    try:
        return await coroutine, None
    except BaseException as exc:
        return None, exc


class Runner:
    """Runs jobs, in whatever thread it is called.

    Args:
        app: its backend is where a redelivered task's state is looked up, its default queue takes successors that
            name none, its hooks see what is sent.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._backend = app.backend
        self.loop = Loop()

    def run(self, job: Job) -> Commit:
        """Run the task. Every exception becomes a state, as every panic does in Go; none goes through."""
        try:
            if job.delivery.redelivered:
                finished = self._finished_before(job)
                if finished is not None:
                    return finished
            return self._run(job)
        except Exception as exc:
            # Not the task's error: what follows from it can't be made or sent (a hook raised, say).
            log.error("task %s can't be settled: %r", job.sig.Name, exc, extra=_about(job.sig), exc_info=exc)
            reason = f"{type(exc).__name__} after the task had run"
            state = TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error=reason)
            return Commit(states=(state,), settle=Settle(job.delivery, "dead", reason))

    def _run(self, job: Job) -> Commit:
        sig, task = job.sig, job.task
        assert task.fn is not None  # the app's tasks are those that are here
        token = RUNNING.set(sig)
        try:
            args = task.read_args(sig)
            value = task.fn(*args)
            if task.is_async:
                value = self.loop.run(value)
        except ArgumentUnreadable as exc:
            return self._failed(job, error_text(exc))
        except RetryLater as exc:
            log.info("task %s asks to be retried in %g s", sig.Name, exc.seconds, extra=_about(sig))
            return self._again(job, workflow.retried_later(sig, time.time_ns(), int(exc.seconds * 1e9)))
        except BaseException as exc:
            return self._raised(job, exc)
        finally:
            RUNNING.reset(token)
        try:
            results = task.dump_results(value)
        except LocalProtocolError as exc:
            return self._failed(job, error_text(exc))
        return self.succeeded(job, results)

    def succeeded(self, job: Job, results: Sequence[TaskResult]) -> Commit:
        """SUCCESS, the OnSuccess children, and a look at the chord."""
        sig = job.sig
        state = TaskState(TaskUUID=sig.UUID, State=SUCCESS, Results=tuple(results))
        chord = None
        if sig.ChordCallback is not None and sig.GroupUUID:
            chord = ChordCheck(sig.GroupUUID, sig.GroupTaskCount)
        if not sig.OnSuccess:
            return Commit(states=(state,), settle=Settle(job.delivery), chord=chord)
        states, publishes = self.outgoing(workflow.after_success(sig, results))
        return Commit(states=(state, *states), publishes=publishes, settle=Settle(job.delivery), chord=chord)

    def _raised(self, job: Job, exc: BaseException) -> Commit:
        sig = job.sig
        if sig.RetryCount > 0:
            again = workflow.retried(sig, time.time_ns())
            log.warning(
                "task %s failed, retry in %d s: %s", sig.Name, again.RetryTimeout, exc, extra=_about(sig)
            )
            return self._again(job, again)
        log.error("task %s failed: %s", sig.Name, error_text(exc), extra=_about(sig), exc_info=exc)
        return self._failed(job, error_text(exc), logged=True)

    def _failed(self, job: Job, error: str, *, logged: bool = False) -> Commit:
        sig = job.sig
        if not logged:
            log.error("task %s failed: %s", sig.Name, error, extra=_about(sig))
        state = TaskState(TaskUUID=sig.UUID, State=FAILURE, Error=error)
        states, publishes = self.outgoing(workflow.after_failure(sig, error))
        return Commit(states=(state, *states), publishes=publishes, settle=Settle(job.delivery))

    def _again(self, job: Job, again: Signature) -> Commit:
        # Go writes RETRY and at once PENDING over it.
        states, publishes = self.outgoing((again,))
        return Commit(states=states, publishes=publishes, settle=Settle(job.delivery))

    def _finished_before(self, job: Job) -> Commit | None:
        """A lost consumer may have got as far as a final state: then only what follows from it is still owed.

        While nobody can say, the message goes back and comes again.
        """
        pauses = Pauses()
        while True:
            try:
                state = self._backend.read([job.sig.UUID])[0] if self._backend.keeps else None
                break
            except self._backend.connection_errors as exc:
                if pauses.count == TRIES:
                    return Commit(settle=Settle(job.delivery, "head"))
                pauses.log(log, "a redelivered task waits for the result backend", exc)
                time.sleep(pauses.next())
        if state is None or not state.final:
            return None
        log.info("task %s had finished before its worker was lost", job.sig.Name, extra=_about(job.sig))
        if state.success:
            return self.succeeded(job, state.Results or ())
        return self._failed(job, state.Error, logged=True)

    def fired(self, job: Job, commit: Commit) -> Commit:
        """The commit that fires the chord of a complete group.

        Go: the trigger is taken even if a member failed and nothing is sent.
        """
        sig = job.sig
        assert sig.ChordCallback is not None
        meta = self._backend.read_group(sig.GroupUUID)
        states = self._backend.read(meta.TaskUUIDs) if meta is not None else [None]
        members = [state for state in states if state is not None]
        if len(members) < len(states):
            log.error(
                "chord of group %s can't fire: a member's state has expired", sig.GroupUUID, extra=_about(sig)
            )
            return msgspec.structs.replace(commit, states=(), chord=None)
        callback = workflow.chord_callback(sig.ChordCallback, members)
        pending, publishes = self.outgoing((callback,) if callback is not None else ())
        trigger = Trigger(sig.GroupUUID, sig.UUID, pending, publishes)
        return msgspec.structs.replace(commit, states=(), chord=None, trigger=trigger)

    def outgoing(self, sigs: Sequence[Signature]) -> tuple[tuple[TaskState, ...], tuple[Publish, ...]]:
        """What sending these signatures writes and publishes."""
        states, publishes = [], []
        for sig in sigs:
            ready = self._app.outgoing(workflow.prepare(sig, queue=self._app.default_queue, new_id=new_uuid))
            body = encode(ready)
            created = format_ns(time.time_ns())
            states.append(
                TaskState(TaskUUID=ready.UUID, TaskName=ready.Name, State=PENDING, CreatedAt=created)
            )
            eta = parse(ready.ETA) if ready.ETA is not None else 0
            publishes.append(Publish(ready.RoutingKey, body, eta, ready.Priority))
        return tuple(states), tuple(publishes)


def new_uuid() -> str:
    return str(uuid.uuid4())


def _about(sig: Signature) -> dict[str, str]:
    return {"task": sig.Name, "uuid": sig.UUID}
