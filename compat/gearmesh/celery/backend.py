"""One Celery result backend over all of gearmesh's."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from celery.backends.base import Backend as CeleryBackend
from celery.backends.base import SyncBackendMixin
from celery.result import result_from_tuple
from kombu.exceptions import EncodeError

from gearmesh.celery.chords import Chords
from gearmesh.celery.codec import ORIGIN_HEADER
from gearmesh.celery.errors import NotForGo
from gearmesh.celery.membership import membership
from gearmesh.celery.meta import error_text, read_meta, read_side, side_state, states_of, wire_state
from gearmesh.celery.result_waiting import ResultWaiting
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


class Backend(ResultWaiting, Chords, SyncBackendMixin, CeleryBackend):  # type: ignore[misc]
    """``result_backend = "gearmesh.celery:Backend+redis://…"``: states as Machinery keeps them.

    Go reads what Celery's tasks returned, and Celery what Go's did. One for all threads; its connections are those of
    the app's :class:`~gearmesh.celery.bridge.Bridge`.
    """

    supports_autoexpire = True
    supports_native_join = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True
        self.bridge = bridge_of(app)

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
                # Before anybody can see the failure: else Go, seeing all members ended, could take the trigger and
                # do nothing with it.
                self._take(request)
            stored, side = self._read((task_id, celery_meta(task_id)))
            if stored is not None and stored.success:
                return result  # a lost worker's second run does not undo the first
            if side is not None and side.success:
                # Of an earlier call with the same id: what is stored below would yield to it.
                self._forget_side(task_id)
        results: Sequence[Any] = ()
        try:
            if word == SUCCESS:
                results = stored_results(self.bridge.results(getattr(request, "task", None) or ""), result)
            text = to_json(meta)
        except LocalProtocolError as exc:
            raise EncodeError(str(exc)) from exc
        states = states_of(task_id, state, text, results, error_text(result))
        ended = request is not None and word in (SUCCESS, FAILURE)
        member = membership(self.bridge.group, request) if ended else None
        self.bridge.end(
            states, member, asks=word == SUCCESS and bool(request and request.group and request.chord)
        )
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        state, side = self._read((task_id, celery_meta(task_id)))
        return self._meta(task_id, state, side)

    def _meta(self, task_id: str, state: TaskState | None, side: TaskState | None) -> dict[str, Any]:
        meta = read_meta(task_id, state, side)
        if isinstance(meta["result"], BaseException):
            return meta
        found: dict[str, Any] = self.meta_from_decoded(meta)
        return found

    def _read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        return self.bridge.insist(lambda: self.bridge.backend.read(uuids))

    def _forget_side(self, task_id: str) -> None:
        self.bridge.insist(lambda: self.bridge.backend.purge([celery_meta(task_id)]))

    def _forget(self, task_id: str) -> None:
        self.bridge.insist(lambda: self.bridge.backend.purge([task_id, celery_meta(task_id)]))

    # -- groups of results that an application saves

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.bridge.write([side_state(group_id, to_json({"result": result.as_tuple()}))])
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        meta = read_side(self._read([celery_meta(group_id)])[0])
        if meta is None or "result" not in meta:
            return None
        return {**meta, "result": result_from_tuple(meta["result"], self.app)}

    def _delete_group(self, group_id: str) -> None:
        self.bridge.insist(lambda: self.bridge.backend.purge([celery_meta(group_id)]))

    # -- the ends of tasks

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = SUCCESS
    ) -> None:
        """Celery's hook: SUCCESS, and a look at the chord, for which a result is kept even if nobody wants it."""
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
        """Celery's hook: FAILURE and what follows; or another try, where a Go caller asked for retries."""
        if state == FAILURE and request is not None and self._again(request):
            return
        super().mark_as_failure(
            task_id,
            exc,
            traceback=traceback,
            request=request,
            store_result=store_result or bool(request is not None and request.chord),
            call_errbacks=call_errbacks,
            state=state,
        )

    def _again(self, request: Any) -> bool:
        """Machinery's own retry, for a call that came from Go with a RetryCount; True if it was sent."""
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
        """What Celery does after a failure, for a task of its workflow that failed in Go."""
        try:
            raise exc
        except type(exc):
            if request.chord:
                self.on_chord_part_return(request, FAILURE, exc)
            self._fail_chain(request.chain, exc)
            if request.errbacks:
                self._call_task_errbacks(request, exc, None)

    def _call_task_errbacks(self, request: Any, exc: Any, traceback: Any) -> None:
        """Celery's hook; what Go runs gets the error's text in front of its arguments, as Go gives it."""
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
