"""One Celery result backend over all of gearmesh's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from celery import states
from celery.backends.base import Backend as CeleryBackend
from celery.backends.base import SyncBackendMixin
from celery.exceptions import ChordError, TimeoutError
from celery.result import GroupResult, result_from_tuple
from kombu.exceptions import EncodeError

from gearmesh.app.watch import Watch
from gearmesh.celery.bridge import Bridge
from gearmesh.celery.message import ORIGIN
from gearmesh.celery.meta import error_text, read_meta, read_side, side_state, states_of, wire_state
from gearmesh.celery.results import stored_results, to_json
from gearmesh.celery.steps import is_raw, raw_of
from gearmesh.errors import BackendError, ChordBusy, LocalProtocolError
from gearmesh.urls import redact
from gearmesh.wire import gotime, workflow
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.names import celery_meta
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, GroupMeta, TaskState

__all__ = ["Backend"]

#: Seconds between two calls of a waiter's ``on_interval``.
TICK: Final = 0.5
#: Seconds between tries while another has the chord trigger.
BUSY: Final = 0.005


class Backend(SyncBackendMixin, CeleryBackend):  # type: ignore[misc]
    """``result_backend = "gearmesh.celery:Backend+redis://…"``: states as Machinery keeps them.

    Go reads what Celery's tasks returned, and Celery what Go's did. One for all threads; its connections are those of
    the app's :class:`~gearmesh.celery.bridge.Bridge`.
    """

    supports_autoexpire = True
    supports_native_join = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.thread_safe = True
        self.bridge = Bridge.of(app)
        #: the results of chord headers that are generators, while their members are being sent
        self._generated: dict[str, Iterable[Any]] = {}

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
            if self._get_task_meta_for(task_id)["status"] == SUCCESS:
                return result  # a lost worker's second run does not undo the first
        results: Sequence[Any] = ()
        try:
            if word == SUCCESS:
                results = stored_results(self.bridge.results(getattr(request, "task", None) or ""), result)
            text = to_json(meta)
        except LocalProtocolError as exc:
            raise EncodeError(str(exc)) from exc
        self.bridge.write(states_of(task_id, state, text, results, error_text(result)))
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

    def _forget(self, task_id: str) -> None:
        self.bridge.insist(lambda: self.bridge.backend.purge([task_id, celery_meta(task_id)]))

    # -- waiting

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """The task's meta once it has ended; it is asked for more and more seldom, from 1 ms to 500 ms.

        Raises:
            TimeoutError: Celery's; not ended after ``timeout`` seconds.
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
        """The metas of tasks as they end.

        Raises:
            TimeoutError: Celery's; not all ended after ``timeout`` seconds.
        """
        ids = dict.fromkeys(str(task_id) for task_id in task_ids)
        for task_id in list(ids):
            cached = self._cache.get(task_id) if self.is_cached(task_id) else None
            if cached is not None and cached["status"] in states.READY_STATES:
                del ids[task_id]
                yield task_id, cached
        for task_id in self._ended(ids, timeout, on_interval):
            meta = self.get_task_meta(task_id)
            if on_message is not None:
                on_message(meta)
            yield task_id, meta

    def _ended(
        self, ids: Iterable[str], timeout: float | None, on_interval: Callable[[], Any] | None
    ) -> Iterator[str]:
        news = threading.Event()
        watch = Watch(ids, fail_fast=False, notify=news.set)
        if not watch.wanted:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = self.bridge.waiter
        if timeout is not None and timeout <= 0:
            waiter.look(watch)
        else:
            waiter.add(watch)
        given = 0
        try:
            while True:
                if on_interval is not None:
                    on_interval()  # before what has ended is given: a parent's error goes first
                while given < len(watch.found):
                    given += 1
                    yield watch.found[given - 1].TaskUUID
                if watch.over:
                    break
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("The operation timed out.")
                news.wait(TICK if left is None else min(TICK, left))
                news.clear()
        finally:
            waiter.remove(watch)
        if watch.error is not None:
            raise watch.error

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
        origin = (request.headers or {}).get(ORIGIN)
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
        headers = {**request.headers, ORIGIN: encode(sig.evolve(ETA=None)).decode()}
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
        """Celery's hook; OnError signatures of Go's get the error's text, as Go gives it."""
        errbacks = request.errbacks or ()
        raw = tuple(raw_of(step) for step in errbacks if is_raw(step))
        if raw:
            text = error_text(self.prepare_exception(exc, "json"))
            for sig in workflow.after_failure(Signature(OnError=raw), text):
                self.bridge.send(sig)
        own = [step for step in errbacks if not is_raw(step)]
        if own:
            request.errbacks = own
            try:
                super()._call_task_errbacks(request, exc, traceback)
            finally:
                request.errbacks = errbacks

    # -- chords

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Celery's hook: the group as Go knows it, before any member is sent.

        But for a header that comes out of a generator: that is not to be hurried, so the group is made before its last
        member is sent, without which it cannot be complete.
        """
        self.ensure_chords_allowed()
        group_id, results = header_result_args[0], header_result_args[1]
        if isinstance(results, (list, tuple)):
            self._make_group(group_id, results)
        else:
            self._generated[group_id] = results

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Celery's hook: the last member of a header is about to be sent."""
        results = self._generated.pop(group_id, None)
        if results is not None:
            self._make_group(group_id, results)

    def _make_group(self, group_id: str, results: Iterable[Any]) -> None:
        members = list(_leaves(results))
        created = gotime.format_ns(time.time_ns())
        self.bridge.create_group(GroupMeta(GroupUUID=group_id, TaskUUIDs=tuple(members), CreatedAt=created))
        # Go: a member without any state makes its look at the group an error.
        known = self._read(members)
        missing = [uuid for uuid, state in zip(members, known, strict=True) if state is None]
        self.bridge.write([TaskState(TaskUUID=uuid, State=PENDING, CreatedAt=created) for uuid in missing])

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Celery's hook: a member has ended. Who completes the group fires the chord, once among all."""
        group_id, chord = request.group, request.chord
        if not group_id or not chord:
            return
        if is_raw(chord):
            if state == SUCCESS:
                self._part_of_go(request, chord)
            return
        if state == SUCCESS and not self._complete(group_id):
            return
        if self._trigger(group_id, request.id):
            self._fire(group_id, self._callback(chord), request, state, result)

    def fire(self, group_id: str, callback: Any) -> None:
        """Send a chord's callback, or fail it, when Go has taken the trigger of a complete group."""
        self._fire(group_id, callback, None, SUCCESS, None)

    def _take(self, request: Any) -> None:
        """A failing member of a chord of Celery's takes the trigger: nobody else fires it any more."""
        if request.group and request.chord and not is_raw(request.chord):
            self._trigger(request.group, request.id)

    def _complete(self, group_id: str, count: int | None = None) -> bool:
        meta = self.bridge.group(group_id)
        if meta is None or (count is not None and count != len(meta.TaskUUIDs)):
            return False
        return self.bridge.insist(lambda: self.bridge.backend.finished(meta))

    def _trigger(self, group_id: str, by: str) -> bool:
        while True:
            try:
                return self.bridge.insist(lambda: self.bridge.backend.trigger(group_id, by))
            except ChordBusy:
                time.sleep(BUSY)
            except BackendError:
                return False  # the group has expired

    def _callback(self, chord: Mapping[str, Any]) -> Any:
        from gearmesh.celery.crossing import step_of

        return step_of(self.bridge, chord)

    def _part_of_go(self, request: Any, chord: Mapping[str, Any]) -> None:
        """A chord that a Go program made: its callback gets all results, behind its own arguments."""
        if not self._complete(request.group, chord["kwargs"]["count"]) or not self._trigger(
            request.group, request.id
        ):
            return
        meta = self.bridge.group(request.group)
        assert meta is not None
        callback = workflow.chord_callback(raw_of(chord), self._read(meta.TaskUUIDs))
        if callback is not None:
            self.bridge.send(callback)

    def _fire(self, group_id: str, callback: Any, request: Any, state: str, result: Any) -> None:
        meta = self.bridge.group(group_id)
        if meta is None:
            self._fail(callback, ChordError(f"group {group_id} is not there any more"))
            return
        if state != SUCCESS:
            self._fail(callback, _chord_error(request.id, result))
            return
        members = meta.TaskUUIDs
        found = self._read([*members, *map(celery_meta, members)])
        values = []
        for uuid, member, side in zip(members, found[: len(members)], found[len(members) :], strict=True):
            ended = self._meta(uuid, member, side)
            if ended["status"] != SUCCESS:
                self._fail(callback, _chord_error(uuid, ended["result"]))
                return
            values.append(ended["result"])
        try:
            callback.apply_async(values if _in_go(callback) else (values,))
        except Exception as exc:
            error = ChordError(f"Callback error: {exc!r}")
            error.__cause__ = exc
            self._fail(callback, error)

    def _fail(self, callback: Any, error: ChordError) -> None:
        try:
            raise error
        except ChordError:
            self.chord_error_from_stack(callback, exc=error)


def _leaves(results: Iterable[Any]) -> Iterator[str]:
    """The ids of a header's tasks, in order; what ends in a group counts by the group's tasks."""
    for result in results:
        if isinstance(result, GroupResult):
            yield from _leaves(result.results)
        else:
            yield result.id


def _chord_error(task_id: str, exc: Any) -> ChordError:
    error = ChordError(f"Dependency {task_id} raised {exc!r}")
    if isinstance(exc, BaseException):
        error.__cause__ = exc
    return error


def _in_go(callback: Any) -> bool:
    from gearmesh.celery.canvas import GoStep

    return isinstance(callback, GoStep)
