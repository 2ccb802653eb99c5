"""Chords: groups as Go knows them, completed by whoever is last, fired once among all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from celery.exceptions import ChordError
from celery.result import GroupResult

from gearmesh.celery.bridge import BUSY_RETRY_DELAY_S, Bridge
from gearmesh.celery.canvas import GoStep
from gearmesh.celery.membership import Membership, membership
from gearmesh.celery.meta import read_side, side_state
from gearmesh.celery.results import to_json
from gearmesh.celery.step_types import is_raw, raw_of
from gearmesh.commits.group_completion import member_states
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import CountsMembers
from gearmesh.wire import gotime, workflow
from gearmesh.wire.names import celery_meta
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskState

__all__ = ["Chords"]

#: Seconds for which a member's state is looked for that others may have in their hands.
HIDDEN_STATE_TIMEOUT_S: Final = 2.0


class Chords:
    """A part of :class:`~gearmesh.celery.backend.Backend`.

    A group is complete when all members have ended; who sees that takes its trigger, which only one can have, and sends
    the callback, or fails it. A member that fails takes the trigger at once: the callback can never be sent then.
    Where a backend counts members, who sees that they are all there holds their states until the callback is sent.
    """

    bridge: Bridge
    ensure_chords_allowed: Callable[[], None]
    chord_error_from_stack: Callable[..., Any]
    _read: Callable[[Sequence[str]], list[TaskState | None]]
    _meta: Callable[[str, TaskState | None, TaskState | None], dict[str, Any]]

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Celery's hook: the group as Go knows it, before any member is sent.

        So a header that comes out of a generator is made whole first.
        """
        self.ensure_chords_allowed()
        group_id, results = header_result_args[0], header_result_args[1]
        members = list(_leaves(results))
        created = gotime.format_ns(time.time_ns())
        self.bridge.create_group(GroupMeta(GroupUUID=group_id, TaskUUIDs=tuple(members), CreatedAt=created))
        # Go: a member without any state makes its look at the group an error.
        known = self._read(members)
        missing = [uuid for uuid, state in zip(members, known, strict=True) if state is None]
        states = [TaskState(TaskUUID=uuid, State=PENDING, CreatedAt=created) for uuid in missing]
        shape = _shape(results)
        # Celery's callback wants the results of a group in a list of their own. Where a backend counts, who fires a
        # chord deletes the group: a Celery worker that is then to go on finds the members here.
        if shape != members or isinstance(self.bridge.backend, CountsMembers):
            states.append(side_state(_shape_of(group_id), to_json({"shape": shape})))
        self.bridge.write(states)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Celery's hook: a member has ended. Who completes the group fires the chord, once among all."""
        group_id, chord = request.group, request.chord
        if not group_id or not chord:
            return
        if is_raw(chord):
            if state == SUCCESS:
                self._part_of_go(request, chord)
            return
        if state != SUCCESS:
            if self._trigger(group_id, request.id):
                self._fire(group_id, self._callback(chord), request, state, result)
            return
        member = membership(self.bridge.group, request)
        if member is not None and self._complete(member, request.id):
            with self._over(group_id, request.id) as hand:
                hand.fired = self._trigger(group_id, request.id)
                if hand.fired:
                    self._fire(group_id, self._callback(chord), request, state, result)

    def fire(self, group_id: str, callback: Any) -> None:
        """Send a chord's callback, or fail it, when Go has taken the trigger of a complete group."""
        self._fire(group_id, callback, None, SUCCESS, None)

    def _take(self, request: Any) -> None:
        """A failing member of a chord of Celery's takes the trigger: nobody else fires it any more."""
        if request.group and request.chord and not is_raw(request.chord):
            self._trigger(request.group, request.id)

    def _complete(self, member: Membership, by: str) -> bool:
        """True if the member ``by`` is to fire its group's chord, if it gets the trigger."""
        backend, group_id, count = self.bridge.backend, member.group_uuid, member.count
        if isinstance(backend, CountsMembers):
            counting = backend
            return self.bridge.insist(lambda: counting.gather(group_id, count, by, member.again))
        meta = self.bridge.group(group_id)
        if meta is None or count != len(meta.TaskUUIDs):
            return False
        return self.bridge.insist(lambda: backend.finished(meta))

    @contextmanager
    def _over(self, group_id: str, by: str) -> Iterator[_ChordClaim]:
        """What ``by`` has in hand of a complete group is let go at the end."""
        hand = _ChordClaim()
        try:
            yield hand
        except BaseException:
            hand.fired = False
            raise
        finally:
            if isinstance(backend := self.bridge.backend, CountsMembers):
                backend.release_group(group_id, by, hand.fired)

    def _trigger(self, group_id: str, by: str) -> bool:
        try:
            return self.bridge.insist(lambda: self.bridge.backend.trigger(group_id, by))
        except BackendError:
            return False  # the group has expired

    def _callback(self, chord: Mapping[str, Any]) -> Any:
        from gearmesh.celery.outgoing import step_of

        return step_of(self.bridge, chord)

    def _part_of_go(self, request: Any, chord: Mapping[str, Any]) -> None:
        """A chord that a Go program made: its callback gets all results, behind its own arguments."""
        member, by = membership(self.bridge.group, request), request.id
        if member is None:
            return
        group_id, states = member.group_uuid, None
        while states is None:
            if not self._complete(member, by):
                return
            with self._over(group_id, by) as hand:
                if not self._trigger(group_id, by):
                    return
                # None: what was in hand is lost with its connection, the group is to be looked at again.
                states = self.bridge.insist(lambda: member_states(self.bridge.backend, group_id, by))
                callback = workflow.chord_callback(raw_of(chord), states) if states is not None else None
                if callback is not None:
                    self.bridge.send(callback)
                hand.fired = states is not None

    def _fire(self, group_id: str, callback: Any, request: Any, state: str, result: Any) -> None:
        if state != SUCCESS:
            self._fail(callback, _chord_error(request.id, result))
            return
        kept = read_side(self._read([celery_meta(_shape_of(group_id))])[0])
        if kept is not None:
            members = list(_ids(kept["shape"]))
        elif (meta := self.bridge.group(group_id)) is not None:
            members = list(meta.TaskUUIDs)
        else:
            self._fail(callback, ChordError(f"group {group_id} is not there any more"))
            return
        found = self._read_ended(members)
        values: list[Any] = []
        for uuid, member, side in zip(members, found[: len(members)], found[len(members) :], strict=True):
            ended = self._meta(uuid, member, side)
            if ended["status"] != SUCCESS:
                self._fail(callback, _chord_error(uuid, ended["result"]))
                return
            values.append(ended["result"])
        if kept is not None:
            values = _shaped(kept["shape"], dict(zip(members, values, strict=True)))
        try:
            callback.apply_async(values if _in_go(callback) else (values,))
        except Exception as exc:
            error = ChordError(f"Callback error: {exc!r}")
            error.__cause__ = exc
            self._fail(callback, error)

    def _read_ended(self, members: Sequence[str]) -> list[TaskState | None]:
        """The states of members that have ended, and then Celery's own of each.

        On RabbitMQ a state that somebody else reads just now cannot be seen: it is looked for again.
        """
        uuids = [*members, *map(celery_meta, members)]
        deadline = time.monotonic() + HIDDEN_STATE_TIMEOUT_S
        while True:
            found = self._read(uuids)
            seen = all(state is not None and state.final for state in found[: len(members)])
            if seen or not isinstance(self.bridge.backend, CountsMembers) or time.monotonic() > deadline:
                return found
            time.sleep(BUSY_RETRY_DELAY_S)

    def _fail(self, callback: Any, error: ChordError) -> None:
        try:
            raise error
        except ChordError:
            self.chord_error_from_stack(callback, exc=error)


class _ChordClaim:
    """Whether what was in hand has been used."""

    fired = False


def _leaves(results: Iterable[Any]) -> Iterator[str]:
    """The ids of a header's tasks, in order; what ends in a group counts by the group's tasks."""
    for result in results:
        if isinstance(result, GroupResult):
            yield from _leaves(result.results)
        else:
            yield result.id


def _shape(results: Iterable[Any]) -> list[Any]:
    """The same with the lists that they are in."""
    return [_shape(each.results) if isinstance(each, GroupResult) else each.id for each in results]


def _ids(shape: Iterable[Any]) -> Iterator[str]:
    """The ids in a :func:`_shape`, in order."""
    for part in shape:
        if isinstance(part, str):
            yield part
        else:
            yield from _ids(part)


def _shape_of(group_id: str) -> str:
    return f"{group_id}.shape"


def _shaped(shape: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    return [_shaped(each, values) if isinstance(each, list) else values[each] for each in shape]


def _chord_error(task_id: str, exc: Any) -> ChordError:
    error = ChordError(f"Dependency {task_id} raised {exc!r}")
    if isinstance(exc, BaseException):
        error.__cause__ = exc
    return error


def _in_go(callback: Any) -> bool:
    return isinstance(callback, GoStep)
