"""Chords of a Celery app: Go can read their groups, any worker can complete one, and its callback is sent once.

A group is complete when all members have ended. The member that completes it takes the group's trigger, which the
backend gives to one member only, and sends or fails the callback. A member that fails takes the trigger at once, so
that no other member can send the callback. A backend that counts members (RabbitMQ) gives their states to the
completing member as a claim, and keeps them unacked until that member has sent the callback.
"""

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
from gearmesh.celery.outgoing import step_of
from gearmesh.celery.results import to_json
from gearmesh.celery.step_types import is_raw, raw_of
from gearmesh.commits.group_completion import member_states
from gearmesh.errors import BackendError
from gearmesh.interfaces.backend import CountsMembers
from gearmesh.wire import gotime, workflow
from gearmesh.wire.names import celery_meta
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskState

__all__ = ["Chords"]

#: Seconds for which a missing state is read again, because another reader may hold it unacked in RabbitMQ.
HIDDEN_STATE_TIMEOUT_S: Final = 2.0


class Chords:
    """Completes the chords of one Celery app. Safe in threads.

    Args:
        bridge: the app's bridge.
        meta_of: makes Celery's meta of a task from its UUID, its state and its side state.
        fail_callback: Celery's ``chord_error_from_stack``.
    """

    def __init__(
        self,
        bridge: Bridge,
        meta_of: Callable[[str, TaskState | None, TaskState | None], dict[str, Any]],
        fail_callback: Callable[..., Any],
    ) -> None:
        self._bridge = bridge
        self._meta_of = meta_of
        self._fail_callback = fail_callback

    def create(self, group_id: str, results: Iterable[Any]) -> None:
        """Store a chord's group in Go's form, before any member is sent.

        ``results``: the results of the header's steps. If one is a group, its tasks are the members.
        """
        shape = _shape(results)
        members = list(_ids(shape))
        created = gotime.format_ns(time.time_ns())
        self._bridge.create_group(GroupMeta(GroupUUID=group_id, TaskUUIDs=tuple(members), CreatedAt=created))
        # Go: reading a group is an error if one member has no state at all.
        known = self._bridge.read(members)
        missing = [uuid for uuid, state in zip(members, known, strict=True) if state is None]
        states = [TaskState(TaskUUID=uuid, State=PENDING, CreatedAt=created) for uuid in missing]
        # Celery's callback takes the results of an inner group as one list, so the shape of the header is kept. If the
        # backend counts members, the member that fires the chord deletes the group; a Celery worker that sends the
        # callback later still finds the members in the shape.
        if shape != members or isinstance(self._bridge.backend, CountsMembers):
            states.append(side_state(_shape_id(group_id), to_json({"shape": shape})))
        self._bridge.write(states)

    def member_ended(self, request: Any, state: str, result: Any) -> None:
        """Fire the chord of a member that has ended, if the group is now complete; one worker does so, once."""
        group_id, chord = request.group, request.chord
        if not group_id or not chord:
            return
        if is_raw(chord):
            if state == SUCCESS:
                self._member_of_go_ended(request, chord)
            return
        if state != SUCCESS:
            if self._trigger(group_id, request.id):
                self._fail(step_of(self._bridge, chord), _chord_error(request.id, result))
            return
        member = membership(self._bridge.group, request)
        if member is not None and self._complete(member, request.id):
            with self._claim(group_id, request.id) as claim:
                if self._trigger(group_id, request.id):
                    self.fire(group_id, step_of(self._bridge, chord))
                    claim.fired = True

    def take_trigger(self, request: Any) -> None:
        """Take the trigger for a failing member of a Celery app's chord, so that no other member can fire the chord."""
        if request.group and request.chord and not is_raw(request.chord):
            self._trigger(request.group, request.id)

    def fire(self, group_id: str, callback: Any) -> None:
        """Send the callback of a complete group, or fail it if a member failed. The caller must have the trigger."""
        kept = read_side(self._bridge.read([celery_meta(_shape_id(group_id))])[0])
        if kept is not None:
            members = list(_ids(kept["shape"]))
        elif (meta := self._bridge.group(group_id)) is not None:
            members = list(meta.TaskUUIDs)
        else:
            self._fail(callback, ChordError(f"the backend does not have group {group_id} any more"))
            return
        found = self._read_ended(members)
        values: list[Any] = []
        for uuid, member, side in zip(members, found[: len(members)], found[len(members) :], strict=True):
            ended = self._meta_of(uuid, member, side)
            if ended["status"] != SUCCESS:
                self._fail(callback, _chord_error(uuid, ended["result"]))
                return
            values.append(ended["result"])
        if kept is not None:
            values = _shaped(kept["shape"], dict(zip(members, values, strict=True)))
        try:
            callback.apply_async(values if isinstance(callback, GoStep) else (values,))
        except Exception as exc:
            error = ChordError(f"Callback error: {exc!r}")
            error.__cause__ = exc
            self._fail(callback, error)

    def _complete(self, member: Membership, by: str) -> bool:
        """True if the group is complete, so that its member ``by`` may ask for the trigger and fire the chord."""
        backend, group_id, count = self._bridge.backend, member.group_uuid, member.count
        if isinstance(backend, CountsMembers):
            counting = backend
            return self._bridge.insist(lambda: counting.gather(group_id, count, by, member.again))
        meta = self._bridge.group(group_id)
        if meta is None or count != len(meta.TaskUUIDs):
            return False
        return self._bridge.insist(lambda: backend.finished(meta))

    @contextmanager
    def _claim(self, group_id: str, by: str) -> Iterator[_ChordClaim]:
        """Hold the claim that ``by`` has on a complete group, and release it at the end."""
        claim = _ChordClaim()
        try:
            yield claim
        finally:
            if isinstance(backend := self._bridge.backend, CountsMembers):
                backend.release_group(group_id, by, claim.fired)

    def _trigger(self, group_id: str, by: str) -> bool:
        try:
            return self._bridge.insist(lambda: self._bridge.backend.trigger(group_id, by))
        except BackendError:
            return False  # the group has expired

    def _member_of_go_ended(self, request: Any, chord: Mapping[str, Any]) -> None:
        """Fire a chord that a Go program made: its callback gets all results after its own arguments."""
        member, by = membership(self._bridge.group, request), request.id
        if member is None:
            return
        group_id, states = member.group_uuid, None
        while states is None:
            if not self._complete(member, by):
                return
            with self._claim(group_id, by) as claim:
                if not self._trigger(group_id, by):
                    return
                # None: the backend lost its connection and with it the claim, so the loop asks again.
                states = self._bridge.insist(lambda: member_states(self._bridge.backend, group_id, by))
                callback = workflow.chord_callback(raw_of(chord), states) if states is not None else None
                if callback is not None:
                    self._bridge.send(callback)
                claim.fired = states is not None

    def _read_ended(self, members: Sequence[str]) -> list[TaskState | None]:
        """Read the states of members that have ended, followed by their side states in the same order.

        RabbitMQ does not show a state that another reader holds unacked, so missing states are read again.
        """
        uuids = [*members, *map(celery_meta, members)]
        deadline = time.monotonic() + HIDDEN_STATE_TIMEOUT_S
        while True:
            found = self._bridge.read(uuids)
            seen = all(state is not None and state.final for state in found[: len(members)])
            if seen or not isinstance(self._bridge.backend, CountsMembers) or time.monotonic() > deadline:
                return found
            time.sleep(BUSY_RETRY_DELAY_S)

    def _fail(self, callback: Any, error: ChordError) -> None:
        try:
            raise error
        except ChordError:
            self._fail_callback(callback, exc=error)


class _ChordClaim:
    """A claim on a complete group. ``fired``: the callback was sent, so the backend may delete the group."""

    fired = False


def _shape(results: Iterable[Any]) -> list[Any]:
    """The ids of a header's tasks in order; an inner group is a list inside the list."""
    return [_shape(each.results) if isinstance(each, GroupResult) else each.id for each in results]


def _ids(shape: Iterable[Any]) -> Iterator[str]:
    """The ids in a :func:`_shape`, in order."""
    for part in shape:
        if isinstance(part, str):
            yield part
        else:
            yield from _ids(part)


def _shape_id(group_id: str) -> str:
    """The id under which a group's shape is kept."""
    return f"{group_id}.shape"


def _shaped(shape: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
    return [_shaped(each, values) if isinstance(each, list) else values[each] for each in shape]


def _chord_error(task_id: str, exc: Any) -> ChordError:
    error = ChordError(f"Dependency {task_id} raised {exc!r}")
    if isinstance(exc, BaseException):
        error.__cause__ = exc
    return error
