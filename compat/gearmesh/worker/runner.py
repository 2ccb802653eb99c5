"""Runs a job, and makes the Commit with its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from gearmesh.app.app import App
from gearmesh.app.context import RUNNING, TaskContext
from gearmesh.app.eager import error_text
from gearmesh.app.retry import cause_of, next_try
from gearmesh.app.revocations import REVOKED_ERROR
from gearmesh.commits.group_completion import member_states
from gearmesh.declarations.declaration import ArgumentUnreadable
from gearmesh.errors import (
    HardLimitExceeded,
    LocalProtocolError,
    RetryLater,
    TaskError,
    TaskFailed,
    Unstorable,
)
from gearmesh.ids import new_uuid
from gearmesh.interfaces.commit import ChordCheck, Commit, Member, Publish, Settle, Trigger
from gearmesh.results.failures import details_of, record_of
from gearmesh.transports.registry import message_check, release_limits
from gearmesh.wire import workflow
from gearmesh.wire.codec import encode
from gearmesh.wire.expiry import EXPIRED_ERROR, expired
from gearmesh.wire.gotime import format_ns, parse
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, SUCCESS, TaskResult, TaskState
from gearmesh.worker.event_loop import EventLoopThread
from gearmesh.worker.forked import FORKS, end_forked_process
from gearmesh.worker.job import Job
from gearmesh.worker.prior_outcome import PriorOutcome, PriorOutcomes
from gearmesh.worker.task_log import TaskLog, about

__all__ = ["Runner"]

log = logging.getLogger("gearmesh.worker")


class Runner:
    """Runs jobs, in the thread of the caller.

    Args:
        app: the app. The runner reads the states of redelivered tasks from its backend, sends follow-up tasks without
            a queue to its default queue, calls its hooks and handlers, and obeys its revocations.
        task_log: logs the outcome of each task; None: a log without a limit.
    """

    def __init__(self, app: App, task_log: TaskLog | None = None) -> None:
        self._app = app
        self._log = task_log or TaskLog()
        self._backend = app.backend
        self._prior_outcomes = PriorOutcomes(app.backend)
        self._handlers = app.handlers
        self._revocations = app.revocations
        self._check_message = message_check(app.config)
        self._release_limits = release_limits(app.config)
        self.loop = EventLoopThread()

    def run(self, job: Job) -> Commit:
        """Run the task. Every exception becomes a state, as every panic does in Go; none is raised."""
        try:
            commit = self._instead(job) or self._run(job)
            return msgspec.structs.replace(commit, fresh=True) if job.fresh else commit
        except Exception as exc:
            return self._unsettled(job, exc)

    async def arun(self, job: Job) -> Commit:
        """Do as :meth:`run`, for a coroutine function, in an asyncio task of its own."""
        try:
            try:
                if job.delivery.redelivered or job.delivery.republished or self._revocations.active:
                    commit = await asyncio.to_thread(self._instead, job)
                else:
                    commit = self._instead(job)
            except asyncio.CancelledError as exc:
                return self._ended(job, exc)
            commit = commit or await self._arun(job)
            return msgspec.structs.replace(commit, fresh=True) if job.fresh else commit
        except Exception as exc:
            return self._unsettled(job, exc)

    def _instead(self, job: Job) -> Commit | None:
        """Make the Commit of a job that has ended before, was revoked or has expired; None: run it."""
        if job.delivery.redelivered or job.delivery.republished:
            commit = self._resume(job)
            if commit is not None:
                return commit
        if self._revocations.active and self._revoked(job):
            return self._dropped(job)
        if job.sig.Headers and expired(job.sig, time.time_ns()):
            return self._dropped(job, EXPIRED_ERROR)
        return None

    async def _arun(self, job: Job) -> Commit:
        task = job.task
        assert task.fn is not None
        context = TaskContext(job.sig, self._app)
        RUNNING.set(context)  # no reset: this asyncio task ends with the job
        forks = FORKS.count
        try:
            try:
                args = self._begin(job, context) if self._handlers.around else task.read_args(job.sig)
                value = await task.fn(*args)
            except BaseException as exc:
                if FORKS.count != forks:
                    end_forked_process(exc)
                return self._ended(job, exc)
            if FORKS.count != forks:
                end_forked_process(None)
            return self._returned(job, value)
        finally:
            if context.handled:
                self._handlers.ended(job.sig)
            if context.reported:
                with contextlib.suppress(asyncio.CancelledError):  # too late: the task has ended
                    await asyncio.to_thread(self._app.progress.flush)

    def _run(self, job: Job) -> Commit:
        sig, task = job.sig, job.task
        assert task.fn is not None  # a task of the app has a function
        context = TaskContext(sig, self._app)
        token = RUNNING.set(context)
        forks = FORKS.count
        try:
            try:
                args = self._begin(job, context) if self._handlers.around else task.read_args(sig)
                slot, fn = job.slot, task.fn
                if task.is_async:
                    fn, args = self.loop.run, [fn(*args), slot]
                value = fn(*args) if slot is None else slot.call(job, fn, args)
            except BaseException as exc:
                if FORKS.count != forks:
                    end_forked_process(exc)
                return self._ended(job, exc)
            if FORKS.count != forks:
                end_forked_process(None)
            return self._returned(job, value)
        finally:
            if context.handled:
                self._handlers.ended(sig)
            if context.reported:
                self._app.progress.flush()
            RUNNING.reset(token)

    def _begin(self, job: Job, context: TaskContext) -> list[Any]:
        """Call the handlers, and return the arguments.

        Go: it calls no handler if an argument can't be read. It calls them before it finds that a call does not fit.
        """
        mismatch: TaskError | None = None
        args: list[Any] = []
        try:
            args = job.task.read_args(job.sig)
        except TaskError as exc:
            mismatch = exc
        context.handled = True
        self._handlers.starting(job.sig)
        if mismatch is not None:
            raise mismatch
        return args

    def _returned(self, job: Job, value: Any) -> Commit:
        """Make the Commit of a task that returned ``value``."""
        try:
            results = job.task.dump_results(value)
            if self._release_limits is not None:
                self._release_limits.check_results(job.sig.Name, results)
        except LocalProtocolError as exc:
            return self._failed(job, error_text(exc), exc)
        self._log.succeeded(job)
        return self.succeeded(job, results)

    def _ended(self, job: Job, exc: BaseException) -> Commit:
        """Make the Commit of a task that raised ``exc``."""
        sig, told = job.sig, job.interrupted
        if isinstance(exc, ArgumentUnreadable):
            return self._failed(job, error_text(exc), exc)
        if self._revocations.active and self._revoked(job):
            return self._dropped(job)
        if isinstance(exc, RetryLater):
            self._log.retried(job, exc.seconds, sig.RetryCount, None)
            return self._retry(job, workflow.retried_later(sig, time.time_ns(), int(exc.seconds * 1e9)))
        if told is not None and isinstance(exc, (type(told), asyncio.CancelledError)):
            exc = told.with_traceback(exc.__traceback__)
        return self.raised(job, exc)

    def _unsettled(self, job: Job, exc: Exception) -> Commit:
        """Make the Commit of a task whose follow-up tasks can't be made or sent, for example since a hook raised."""
        log.error("its result could not be sent: %r", exc, extra=about(job.sig), exc_info=exc)
        reason = f"{type(exc).__name__} after the task had run"
        state = TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error=reason)
        return Commit(states=(state,), settle=Settle(job.delivery, "dead", reason), member=_member(job))

    def succeeded(self, job: Job, results: Sequence[TaskResult]) -> Commit:
        """Make the Commit of a task that has returned: SUCCESS, the OnSuccess children, and a check of the chord."""
        sig = job.sig
        state = TaskState(TaskUUID=sig.UUID, State=SUCCESS, Results=tuple(results))
        if not sig.GroupUUID and not sig.OnSuccess:  # nearly every task
            return Commit(states=(state,), settle=Settle(job.delivery))
        chord = None
        if sig.ChordCallback is not None and sig.GroupUUID:
            chord = ChordCheck(sig.GroupUUID, sig.GroupTaskCount)
        if not sig.OnSuccess:
            return Commit(states=(state,), settle=Settle(job.delivery), member=_member(job), chord=chord)
        states, publishes = self.outgoing(workflow.after_success(sig, results))
        return Commit(
            states=(state, *states),
            publishes=publishes,
            settle=Settle(job.delivery),
            member=_member(job),
            chord=chord,
        )

    def raised(self, job: Job, exc: BaseException) -> Commit:
        """Make the Commit for a task's exception: another attempt, or FAILURE and the OnError children."""
        sig = job.sig
        again = next_try(job.task.retry_policy, sig, exc, time.time_ns())
        if again is not None:
            pause = (parse(again.ETA) - time.time_ns()) / 1e9 if again.ETA is not None else 0.0
            self._log.retried(job, max(0.0, round(pause, 1)), again.RetryCount, cause_of(exc))
            return self._retry(job, again)
        exc = cause_of(exc)
        return self._failed(job, error_text(exc), exc)

    def fail_unstorable(self, job: Job, exc: Unstorable) -> Commit:
        """Make the Commit of a task whose result the backend can never store: FAILURE."""
        return self._failed(job, f"the result can't be stored: {exc.reason}", exc)

    def fail_overdue(self, job: Job, limit: float) -> Commit:
        """Make the Commit of a job whose process was killed at its hard limit of ``limit`` seconds."""
        error = HardLimitExceeded(limit)
        try:
            return self.raised(job, error)
        except Exception as exc:  # a hook or a handler of the user's raised
            log.error("its failure could not be handled: %r", exc, extra=about(job.sig), exc_info=exc)
            return Commit(settle=Settle(job.delivery, "dead", str(error)))

    def dead_letter(self, job: Job, reason: str) -> Commit:
        """Make the Commit of a job that must not run again: FAILURE, the OnError children, and a dead letter."""
        failed = self._failed(job, reason, TaskFailed(job.sig.UUID, reason, job.sig.Name), recorded=False)
        return msgspec.structs.replace(failed, settle=Settle(job.delivery, "dead", reason))

    def fail_unrunnable(self, sig: Signature, error: str) -> Commit:
        """Make the Commit of a task that no worker has run and whose message is dead-lettered already: FAILURE."""
        if self._handlers.around:
            self._handlers.failed(sig, TaskFailed(sig.UUID, error, sig.Name))
        state = TaskState(TaskUUID=sig.UUID, State=FAILURE, Error=error)
        member = Member(sig.GroupUUID, sig.UUID) if sig.GroupUUID and sig.GroupTaskCount else None
        try:
            states, publishes = self.outgoing(workflow.after_failure(sig, error))
        except Exception as exc:  # a hook of the user's raised
            log.error("its error callbacks could not be sent: %r", exc, extra=about(sig), exc_info=exc)
            states, publishes = (), ()
        return Commit(states=(state, *states), publishes=publishes, member=member)

    def _failed(
        self,
        job: Job,
        error: str,
        exc: BaseException | None = None,
        *,
        logged: bool = False,
        recorded: bool = True,
    ) -> Commit:
        """Make the Commit of a failed task: FAILURE and the OnError children. The error handlers get ``exc``.

        Args:
            exc: the exception; None: an earlier delivery has failed, and the handlers had its exception then.
            logged: the failure has been logged before.
            recorded: store the type and the traceback of ``exc``; False: it is not an exception of the task's.
        """
        sig = job.sig
        if not logged:
            self._log.failed(job, error, exc)
        if exc is not None and self._handlers.around:
            self._handlers.failed(sig, exc)
        own = [TaskState(TaskUUID=sig.UUID, State=FAILURE, Error=error)]
        if exc is not None and recorded and self._backend.keeps:
            config = self._app.config
            kept = sig if config.store_failed_messages else None
            details = details_of(exc, tracebacks=config.store_tracebacks, sig=kept)
            # The record goes first, so that readers of the FAILURE find it.
            own.insert(0, record_of(sig.UUID, error, details))
        states, publishes = self.outgoing(workflow.after_failure(sig, error))
        settle = Settle(job.delivery, "leave" if self._is_left(sig) else "ack")
        return Commit(states=(*own, *states), publishes=publishes, settle=settle, member=_member(job))

    def _is_left(self, sig: Signature) -> bool:
        """Say whether a task's message stays in its queue when the task fails, for the queue's redrive policy.

        Go: StopTaskDeletionOnError, which only SQS has.
        """
        return sig.StopTaskDeletionOnError and self._app.config.on_sqs

    def _revoked(self, job: Job) -> bool:
        return bool(self._revocations.revoked((job.sig.UUID,)))

    def _dropped(self, job: Job, error: str = REVOKED_ERROR) -> Commit:
        """Make the Commit of a task that is not wanted any more: FAILURE, without the OnError children."""
        log.info("%s: it is not run", error, extra=about(job.sig))
        state = TaskState(TaskUUID=job.sig.UUID, State=FAILURE, Error=error)
        return Commit(states=(state,), settle=Settle(job.delivery), member=_member(job))

    def _retry(self, job: Job, again: Signature) -> Commit:
        """Make the Commit of a task that is tried again: one step publishes the next try and settles this delivery."""
        # Go writes RETRY and at once PENDING over it.
        states, publishes = self.outgoing((again,))
        return Commit(states=states, publishes=publishes, settle=Settle(job.delivery))

    def _resume(self, job: Job) -> Commit | None:
        """Resume a task that another delivery, or the other copy, of its message has finished; None: run it.

        The Commit then sends only the follow-up tasks.
        """
        prior = self._prior_outcomes.find(job)
        if prior is None:
            job.shown = RECEIVED if job.shown else ""
        if not isinstance(prior, PriorOutcome):
            return prior
        state = prior.state
        if not state.success and self._is_left(job.sig):
            return None  # SQS delivers the message again because its task failed. Run it again, as Go does.
        job.ended_before = True
        log.info(
            "it had ended before its worker was lost: only the follow-up tasks are sent", extra=about(job.sig)
        )
        if state.success:
            commit = self.succeeded(job, state.Results or ())
        elif state.Error == REVOKED_ERROR and self._revocations.active and self._revoked(job):
            return self._dropped(job)
        elif state.Error == EXPIRED_ERROR and expired(job.sig, time.time_ns()):
            return self._dropped(job, EXPIRED_ERROR)
        else:
            commit = self._failed(job, state.Error, logged=True)
        return msgspec.structs.replace(commit, states=prior.unwritten(commit.states), again=True, fresh=True)

    def fire_chord(self, job: Job, commit: Commit) -> Commit:
        """Make the Commit that fires the chord of a complete group.

        Go: the trigger is taken even if a member failed and nothing is sent.
        """
        sig = job.sig
        assert sig.ChordCallback is not None
        states = member_states(self._backend, sig.GroupUUID, sig.UUID)
        if states is None:
            return msgspec.structs.replace(commit, states=())
        members = [state for state in states if state is not None]
        if len(members) < len(states):
            log.error(
                "the chord of group %s cannot fire: a member's state has expired",
                sig.GroupUUID,
                extra=about(sig),
            )
            return msgspec.structs.replace(commit, states=(), chord=None)
        if not all(state.final for state in members):
            # The server has lost a state that this process had seen. That member runs again, and asks when it ends.
            return msgspec.structs.replace(commit, states=(), chord=None)
        callback = workflow.chord_callback(sig.ChordCallback, members)
        pending, publishes = self.outgoing((callback,) if callback is not None else ())
        trigger = Trigger(sig.GroupUUID, sig.UUID, pending, publishes)
        return msgspec.structs.replace(commit, states=(), chord=None, trigger=trigger)

    def outgoing(self, sigs: Sequence[Signature]) -> tuple[tuple[TaskState, ...], tuple[Publish, ...]]:
        """Return the PENDING states and the publishes that send these signatures."""
        states, publishes = [], []
        for sig in sigs:
            ready = self._app.outgoing(
                workflow.prepare(sig, queue=self._app.default_routing_key, new_id=new_uuid)
            )
            if (
                ready.SQSReceiptHandle
            ):  # Go: a retry carries the handle of the delivery before, which is of no use
                ready = msgspec.structs.replace(ready, SQSReceiptHandle="")
            body = encode(ready)
            if self._check_message is not None:
                self._check_message(ready.RoutingKey, body)
            now = format_ns(time.time_ns())
            states.append(TaskState(TaskUUID=ready.UUID, TaskName=ready.Name, State=PENDING, CreatedAt=now))
            eta = parse(ready.ETA) if ready.ETA is not None else 0
            publishes.append(Publish(ready.RoutingKey, body, eta, ready.Priority))
        return tuple(states), tuple(publishes)


def _member(job: Job) -> Member | None:
    sig = job.sig
    if not sig.GroupUUID or not sig.GroupTaskCount:  # Go: it does not count the members of a group of 0
        return None
    return Member(sig.GroupUUID, sig.UUID, job.delivery.redelivered > 0 or job.ended_before)
