"""The ``eager`` broker: it runs each task in the caller, from the same JSON as on the wire, before ``send`` returns.

It does not wait: a task with an ETA, a countdown or a retry runs at once, as with Machinery's eager broker. It logs a
failure with its traceback, and the exception is the ``__cause__`` of the TaskFailed that ``get()`` raises. A task's own
soft and hard limits interrupt it (see :mod:`.eager_limits`); no process is killed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections import deque
from collections.abc import Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from gearmesh.app.capabilities import TaskHost
from gearmesh.app.context import RUNNING, TaskContext
from gearmesh.app.eager_limits import call_limited, limited_coroutine
from gearmesh.app.retry import cause_of, next_try
from gearmesh.app.task import Task
from gearmesh.declarations.declaration import ArgumentUnreadable
from gearmesh.errors import RetryLater, TaskError, Unstorable
from gearmesh.ids import new_uuid
from gearmesh.results.failures import details_of, record_of, type_name, user_traceback
from gearmesh.wire import gotime, workflow
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.expiry import EXPIRED_ERROR, expired
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, RETRY, STARTED, SUCCESS, TaskResult, TaskState

if TYPE_CHECKING:
    from typing import Any


__all__ = ["Eager", "error_text"]

log = logging.getLogger("gearmesh.eager")

#: The number of newest failures whose exceptions, with their frames, are kept: enough for one test.
MAX_KEPT_EXCEPTIONS: Final = 100


def error_text(exc: BaseException) -> str:
    """An exception as the text of a FAILURE: its own text, or its ``repr`` if it has none."""
    return str(exc) or repr(exc)


class Eager:
    """Runs signatures and their follow-up tasks, one after another."""

    def __init__(self, app: TaskHost) -> None:
        self._app = app
        self._exceptions: dict[str, Exception] = {}

    def exception_of(self, uuid: str) -> Exception | None:
        """The exception with which a task has failed here; None: it has not failed, or many others have since."""
        return self._exceptions.get(uuid)

    def run(self, bodies: Iterable[bytes]) -> None:
        """Run these signatures. A task's error becomes its FAILURE, and is not raised.

        Raises:
            TaskError: a name is not registered here.
        """
        todo = deque(bodies)
        while todo:
            sig = decode(todo.popleft())
            for successor in self._one(sig):
                sent = workflow.prepare(successor, queue=self._app.config.default_queue, new_id=new_uuid)
                sent = self._app.outgoing(sent)
                self._write(sent, PENDING, TaskName=sent.Name, CreatedAt=gotime.format_ns(time.time_ns()))
                todo.append(encode(sent))

    def _one(self, sig: Signature) -> list[Signature]:
        """Run one task, and return the signatures to run next."""
        task = self._app.tasks.get(sig.Name)
        if task is None:
            if sig.IgnoreWhenTaskNotRegistered:
                return []
            raise TaskError(f"task {sig.Name!r} is not registered in this app, so it cannot run eagerly")
        if expired(sig, time.time_ns()):
            self._write(sig, FAILURE, Error=EXPIRED_ERROR)
            return []
        self._write(sig, RECEIVED)
        mismatch, values = None, []
        try:
            values = task.read_args(sig)
        except ArgumentUnreadable as exc:
            return self._failed(sig, exc)
        except TaskError as exc:
            mismatch = exc
        self._write(sig, STARTED)
        context = TaskContext(sig, self._app)
        token = RUNNING.set(context)
        try:
            self._app.handlers.starting(sig)
            if mismatch is not None:
                raise mismatch
            results = _call(task, values)
        except RetryLater as exc:
            self._write(sig, RETRY)
            return [workflow.retried_later(sig, time.time_ns(), int(exc.seconds * 1e9))]
        except Exception as exc:
            return self._retry_or_fail(task, sig, exc)
        else:
            try:
                self._write(sig, SUCCESS, Results=results)
            except Unstorable as exc:
                return self._failed(sig, exc)
            return [*workflow.after_success(sig, results), *self._chord(sig)]
        finally:
            self._app.handlers.ended(sig)
            if context.reported:
                self._app.progress.flush()
            RUNNING.reset(token)

    def _retry_or_fail(self, task: Task[..., Any, Any], sig: Signature, exc: Exception) -> list[Signature]:
        again = next_try(task.retry_policy, sig, exc, time.time_ns())
        if again is None:
            cause = cause_of(exc)
            return self._failed(sig, cause if isinstance(cause, Exception) else exc)
        self._write(sig, RETRY)
        return [again]

    def _failed(self, sig: Signature, exc: Exception) -> list[Signature]:
        text = error_text(exc)
        details = details_of(exc, tracebacks=self._app.config.store_tracebacks)
        self._app.backend.write([record_of(sig.UUID, text, details)])
        self._write(sig, FAILURE, Error=text)
        self._note(sig, exc)
        self._app.handlers.failed(sig, exc)
        # Go: a failed member only counts towards its group; the callback is never sent then.
        return list(workflow.after_failure(sig, text))

    def _note(self, sig: Signature, exc: Exception) -> None:
        """Log a failure, with the traceback from the task's own code on, and keep its exception."""
        kept = self._exceptions
        kept[sig.UUID] = exc
        while len(kept) > MAX_KEPT_EXCEPTIONS:
            del kept[next(iter(kept))]
        trace = user_traceback(exc)
        log.error(
            "failed: %s",
            f"{type_name(exc)}: {exc}" if str(exc) else type_name(exc),
            extra={"task": sig.Name, "uuid": sig.UUID},
            exc_info=None if trace is None else (type(exc), exc, trace),
        )

    def _chord(self, sig: Signature) -> list[Signature]:
        if not sig.GroupUUID or sig.ChordCallback is None:
            return []
        backend = self._app.backend
        meta = backend.read_group(sig.GroupUUID)
        if meta is None or not backend.finished(meta) or not backend.trigger(sig.GroupUUID, sig.UUID):
            return []
        callback = workflow.chord_callback(sig.ChordCallback, backend.read(meta.TaskUUIDs))
        return [] if callback is None else [callback]

    def _write(self, sig: Signature, state: str, **fields: Any) -> None:
        self._app.backend.write([TaskState(TaskUUID=sig.UUID, State=state, **fields)])


def _call(task: Task[..., Any, Any], values: list[Any]) -> tuple[TaskResult, ...]:
    soft, hard = task.soft_limit, task.hard_limit
    if not task.is_async:
        return call_limited(lambda: task.call(values), soft, hard)

    def run() -> tuple[TaskResult, ...]:
        return asyncio.run(limited_coroutine(task.acall(values), soft, hard))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    # This call blocks the caller's event loop, so the coroutine gets an event loop of its own in a thread.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, run).result()
