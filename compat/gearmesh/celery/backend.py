"""Celery's result backend over any of gearmesh's backends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from celery import states
from celery.backends.base import Backend as CeleryBackend
from celery.backends.base import SyncBackendMixin
from celery.exceptions import TimeoutError
from celery.result import result_from_tuple
from kombu.exceptions import EncodeError

from gearmesh.celery.chords import Chords
from gearmesh.celery.codec import ORIGIN_HEADER
from gearmesh.celery.errors import NotForGo
from gearmesh.celery.membership import membership
from gearmesh.celery.meta import error_text, read_meta, read_side, side_state, states_of, wire_state
from gearmesh.celery.result_waiting import ended_tasks
from gearmesh.celery.results import stored_results, to_json
from gearmesh.celery.setup import bridge_of
from gearmesh.celery.step_types import in_go, is_raw, raw_of
from gearmesh.errors import BackendError, LocalProtocolError, TaskFailed
from gearmesh.urls import redact
from gearmesh.wire import gotime, workflow
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.names import celery_meta
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, SUCCESS, TaskState

__all__ = ["Backend"]

log = logging.getLogger("gearmesh.celery")


class Backend(SyncBackendMixin, CeleryBackend):  # type: ignore[misc]
    """``result_backend = "gearmesh.celery:Backend+redis://…"``: keeps states as Machinery does.

    Go programs can read the results of Celery's tasks, and Celery can read those of Go's tasks. All threads share one
    backend, which uses the connections of the app's :class:`~gearmesh.celery.bridge.Bridge`.
    """

    supports_autoexpire = True
    supports_native_join = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True
        self.bridge = bridge_of(app)
        self._chords = Chords(self.bridge, self._meta, self.chord_error_from_stack)

    def as_uri(self, include_password: bool = False) -> str:
        return str(self.url) if include_password else redact(str(self.url))

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return isinstance(exc, (BackendError, *self.bridge.backend.connection_errors))

    # -- states

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = task_id
        word = wire_state(state)
        if word == FAILURE:
            if request is not None:
                # This comes before the failure is stored. Otherwise a Go worker that sees all members ended could take
                # the trigger and do nothing with it.
                self._chords.take_trigger(request)
            stored, side = self.bridge.read((task_id, celery_meta(task_id)))
            if stored is not None and stored.success:
                return result  # a second run, after a worker was lost, must not undo the success of the first
            if side is not None and side.success:
                # An earlier call with the same id left this SUCCESS, and the backend would keep it and drop the FAILURE
                # that is stored below.
                self.bridge.purge([celery_meta(task_id)])
        results: Sequence[Any] = ()
        try:
            if word == SUCCESS:
                results = stored_results(self.bridge.results(getattr(request, "task", None) or ""), result)
            text = to_json(meta)
        except LocalProtocolError as exc:
            raise EncodeError(str(exc)) from exc
        stored_states = states_of(task_id, state, text, results, error_text(result))
        ended = request is not None and word in (SUCCESS, FAILURE)
        member = membership(self.bridge.group, request) if ended else None
        self.bridge.end(
            stored_states, member, asks=word == SUCCESS and bool(request and request.group and request.chord)
        )
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        state, side = self.bridge.read((task_id, celery_meta(task_id)))
        if state is not None and state.final and (side is None or side.State != state.State):
            # Either Go ran the task, or it ended between the reads of its two states, which different servers may keep.
            (side,) = self.bridge.read([celery_meta(task_id)])
        return self._meta(task_id, state, side)

    def _meta(self, task_id: str, state: TaskState | None, side: TaskState | None) -> dict[str, Any]:
        meta = read_meta(task_id, state, side)
        if isinstance(meta["result"], BaseException):
            return meta
        found: dict[str, Any] = self.meta_from_decoded(meta)
        return found

    def _forget(self, task_id: str) -> None:
        self.bridge.purge([task_id, celery_meta(task_id)])

    # -- groups of results that an application saves

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.bridge.write([side_state(group_id, to_json({"result": result.as_tuple()}))])
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        meta = read_side(self.bridge.read([celery_meta(group_id)])[0])
        if meta is None or "result" not in meta:
            return None
        return {**meta, "result": result_from_tuple(meta["result"], self.app)}

    def _delete_group(self, group_id: str) -> None:
        self.bridge.purge([celery_meta(group_id)])

    # -- waiting

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """Celery's hook: wait for a task's end and return its meta; ``interval`` has no effect.

        Raises:
            TimeoutError: Celery's class: the task has not ended within ``timeout`` seconds.
        """
        self._ensure_not_eager()
        meta: dict[str, Any]
        for _, meta in self.get_many([task_id], timeout=timeout, on_interval=on_interval):
            return meta
        raise TimeoutError("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Any], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        max_iterations: int | None = None,
        **kwargs: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Celery's hook: yield the id and the meta of each task as it ends; ``interval`` has no effect.

        Raises:
            TimeoutError: Celery's class: some tasks have not ended within ``timeout`` seconds.
        """
        ids = dict.fromkeys(str(task_id) for task_id in task_ids)
        for task_id in list(ids):
            cached = self._cache.get(task_id) if self.is_cached(task_id) else None
            if cached is not None and cached["status"] in states.READY_STATES:
                del ids[task_id]
                yield task_id, cached
        for task_id in ended_tasks(self.bridge.waiter, ids, timeout, on_interval):
            meta = self.get_task_meta(task_id)
            if on_message is not None:
                on_message(meta)
            yield task_id, meta

    # -- chords

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Celery's hook: store the group. Celery calls it before it sends a member, so a generator is read first."""
        self.ensure_chords_allowed()
        self._chords.create(header_result_args[0], header_result_args[1])

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Celery's hook: a member has ended, so fire its chord if the group is complete."""
        self._chords.member_ended(request, state, result)

    def fire(self, group_id: str, callback: Any) -> None:
        """Send a chord's callback, or fail the callback, after a Go worker took the trigger of a complete group."""
        self._chords.fire(group_id, callback)

    # -- the ends of tasks

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = SUCCESS
    ) -> None:
        """Celery's hook: store SUCCESS. A chord needs the result even where ``ignore_result`` is set."""
        if request is not None and request.chord:
            self.store_result(task_id, result, state, request=request)
            self.on_chord_part_return(request, state, result)
            return
        super().mark_as_done(task_id, result, request=request, store_result=store_result, state=state)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """Celery's hook: send a retry if a Go caller asked for retries, else store FAILURE and send the errbacks."""
        if state == FAILURE and request is not None and self._retry_for_go(request):
            return
        store_result = store_result or bool(request is not None and request.chord)
        super().mark_as_failure(task_id, exc, traceback, request, store_result, call_errbacks, state)

    def _retry_for_go(self, request: Any) -> bool:
        """Send Machinery's own retry if a Go program made the call and its RetryCount is not used up; True if sent."""
        origin = (request.headers or {}).get(ORIGIN_HEADER)
        if not isinstance(origin, str):
            return False
        sig = decode(origin.encode())
        task = self.app._tasks.get(request.task)
        if sig.RetryCount <= 0 or task is None:
            return False
        sig = workflow.retried(sig, time.time_ns())
        assert sig.ETA is not None
        eta = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(
            microseconds=gotime.parse(sig.ETA) // 1000
        )
        headers = {**request.headers, ORIGIN_HEADER: encode(sig.evolve(ETA=None)).decode()}
        task.signature_from_request(request, headers=headers, eta=eta, retries=request.retries).apply_async()
        return True

    def failed_in_go(self, request: Any, exc: BaseException) -> None:
        """Fail the chord and the chain and send the errbacks, as Celery does, for a task of a workflow that Go ran."""
        try:
            raise exc
        except type(exc):
            if request.chord:
                self._chords.member_ended(request, FAILURE, exc)
            self._fail_chain(request.chain, exc)
            if request.errbacks:
                self._call_task_errbacks(request, exc, None)

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        """Celery's hook: an errback that Go runs gets the error's text as its first argument, as Go would pass it."""
        errbacks = request.errbacks or ()
        text = exc.error if isinstance(exc, TaskFailed) else error_text(self.prepare_exception(exc, "json"))
        raw = tuple(raw_of(step) for step in errbacks if is_raw(step))
        for sig in workflow.after_failure(Signature(OnError=raw), text):
            self.bridge.send(sig)
        for step in errbacks:
            if in_go(step):
                errback = self.app.signature(step, app=self.app)
                if not errback.immutable:
                    errback = errback.clone()
                    errback.args = (text, *errback.args)
                try:
                    errback.apply_async(parent_id=request.id, root_id=request.root_id or request.id)
                except NotForGo as trouble:
                    log.error("task %s failed, but its errback could not be sent: %s", request.id, trouble)
        own = [step for step in errbacks if not is_raw(step) and not in_go(step)]
        if own:
            request.errbacks = own
            try:
                super()._call_task_errbacks(request, exc, traceback)
            finally:
                request.errbacks = errbacks
