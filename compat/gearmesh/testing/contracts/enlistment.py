"""The contract of an enlisted backend: its states are written in the step that settles."""

from __future__ import annotations

import threading
from uuid import uuid4

import msgspec
import pytest

from gearmesh.backends.null import NullBackend
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Publish, Settle, Trigger
from gearmesh.testing.contracts.support import OpenTap, Tap, TransportFixtures
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, GroupMeta, TaskResult, TaskState

CREATED = "2026-01-02T03:04:05.678Z"


def _pending(uuid: str) -> TaskState:
    return TaskState(TaskUUID=uuid, TaskName="add", State=PENDING, CreatedAt=CREATED)


def _success(uuid: str, value: str = "1") -> TaskState:
    return TaskState(
        TaskUUID=uuid, State=SUCCESS, Results=(TaskResult(Type="int64", Value=msgspec.Raw(value.encode())),)
    )


def _held(here: Tap, queue: str, count: int) -> list[Delivery]:
    here.publish(queue, *(f"{n}".encode() for n in range(count)))
    return [message.delivery for message in here.take(count)]


class EnlistmentContract(TransportFixtures):
    """A Commit writes states, publishes and settles in one step, or does nothing."""

    @pytest.fixture
    def backend(self, enlistable: Backend | None) -> Backend:
        if enlistable is None:
            pytest.skip("this transport enlists no backend")
        return enlistable

    @pytest.fixture
    def group(self, backend: Backend) -> GroupMeta:
        """Store a group of three PENDING members, and return its meta."""
        uuids = tuple(f"task_{uuid4().hex}" for _ in range(3))
        meta = GroupMeta(GroupUUID=f"group_{uuid4().hex}", TaskUUIDs=uuids, CreatedAt=CREATED)
        backend.create_group(meta)
        backend.write([_pending(uuid) for uuid in uuids])
        return meta

    def test_not_with_another_backend(self, tap: OpenTap) -> None:
        here = tap()
        assert here.verbs.enlist(NullBackend()) is False

    def test_without_enlisting_states_are_ignored(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        (delivery,) = _held(here, queue, 1)
        assert here.verbs.commit([Commit(states=(_pending("task_x"),), settle=Settle(delivery))]) == ["done"]
        assert backend.read(["task_x"]) == [None]

    def test_states_are_written_and_merged(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        assert here.verbs.enlist(backend) is True
        here.verbs.commit([Commit(states=(_pending("task_x"),), publishes=(Publish(queue, b"x"),))])
        (message,) = here.take(1)
        assert backend.read(["task_x"]) == [_pending("task_x")]
        assert here.verbs.commit([Commit(states=(_success("task_x"),), settle=Settle(message.delivery))]) == [
            "done"
        ]
        (state,) = backend.read(["task_x"])
        assert state == msgspec.structs.replace(_success("task_x"), TaskName="add", CreatedAt=CREATED)

    def test_a_final_state_stays(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        here.verbs.enlist(backend)
        (delivery,) = _held(here, queue, 1)
        failure = TaskState(TaskUUID="task_x", State=FAILURE, Error="boom")
        early = [TaskState(TaskUUID="task_x", State=state) for state in (RECEIVED, STARTED)]
        commits = [Commit(states=(failure, early[0])), Commit(states=(early[1],), settle=Settle(delivery))]
        assert here.verbs.commit(commits) == ["done", "done"]
        (state,) = backend.read(["task_x"])
        assert state is not None
        assert (state.State, state.Error) == (FAILURE, "boom")

    def test_a_lost_lease_writes_nothing(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        here.verbs.enlist(backend)
        (delivery,) = _held(here, queue, 1)
        assert tap().verbs.recover(here.name, [queue]) == 1
        commit = Commit(
            states=(_success("task_x"),), publishes=(Publish(f"{queue}_next", b"x"),), settle=Settle(delivery)
        )
        assert here.verbs.commit([commit]) == ["lost"]
        assert backend.read(["task_x"]) == [None]
        assert here.verbs.pending(f"{queue}_next") == []

    def test_the_last_member_completes_the_chord(
        self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        here, chord = tap(queue), ChordCheck(group.GroupUUID, 3)
        here.verbs.enlist(backend)
        deliveries = _held(here, queue, 3)
        child = (Publish(f"{queue}_child", b"child"),)
        commits = [
            Commit(states=(_success(uuid),), publishes=child, chord=chord, settle=Settle(delivery))
            for uuid, delivery in zip(group.TaskUUIDs, deliveries, strict=True)
        ]
        assert here.verbs.commit([commits[2]]) == ["done"]
        assert here.verbs.commit(commits[:2]) == ["done", "complete"]
        assert all(state is not None and state.success for state in backend.read(group.TaskUUIDs))
        assert here.verbs.pending(f"{queue}_child") == [b"child"] * 2, "complete sends nothing"

        callback, pending = Publish(f"{queue}_callback", b"callback"), _pending("task_callback")
        trigger = Trigger(group.GroupUUID, group.TaskUUIDs[1], (pending,), (callback,))
        last = msgspec.structs.replace(commits[1], chord=None, trigger=trigger)
        assert here.verbs.commit([last]) == ["done"], "it was still held"
        assert here.verbs.commit([last]) == ["lost"]
        assert here.verbs.pending(f"{queue}_child") == [b"child"] * 3
        assert here.verbs.pending(f"{queue}_callback") == [b"callback"]
        assert backend.read(["task_callback"]) == [pending]
        meta = backend.read_group(group.GroupUUID)
        assert meta is not None
        assert meta.ChordTriggered

    def test_a_failed_member_is_final_too(
        self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        here, chord = tap(queue), ChordCheck(group.GroupUUID, 3)
        here.verbs.enlist(backend)
        deliveries = _held(here, queue, 3)
        states = [TaskState(TaskUUID=uuid, State=FAILURE, Error="boom") for uuid in group.TaskUUIDs]
        commits = [
            Commit(states=(state,), chord=chord, settle=Settle(delivery))
            for state, delivery in zip(states, deliveries, strict=True)
        ]
        assert here.verbs.commit(commits) == ["done", "done", "complete"]

    def test_only_the_winner_sends_the_callback(
        self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        here = tap(queue)
        here.verbs.enlist(backend)
        assert backend.trigger(group.GroupUUID, "somebody")
        (delivery,) = _held(here, queue, 1)
        callback = (Publish(f"{queue}_callback", b"callback"),)
        commit = Commit(
            states=(_success("task_x"),),
            publishes=(Publish(f"{queue}_child", b"child"),),
            trigger=Trigger(group.GroupUUID, "us", (_pending("task_callback"),), callback),
            settle=Settle(delivery),
        )
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.commit([commit]) == ["lost"]
        assert here.verbs.pending(f"{queue}_callback") == []
        assert here.verbs.pending(f"{queue}_child") == [b"child"], "the rest happens in any case"
        assert [state and state.State for state in backend.read(["task_x", "task_callback"])] == [
            SUCCESS,
            None,
        ]

    def test_a_redelivery_finishes_what_it_began(
        self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        here = tap(queue)
        here.verbs.enlist(backend)
        assert backend.trigger(group.GroupUUID, "task_x")
        (delivery,) = _held(here, queue, 1)
        callback = (Publish(f"{queue}_callback", b"callback"),)
        commit = Commit(trigger=Trigger(group.GroupUUID, "task_x", (), callback), settle=Settle(delivery))
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.pending(f"{queue}_callback") == [b"callback"]

    def test_an_unknown_group_never_completes(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        here.verbs.enlist(backend)
        member, trigger = _held(here, queue, 2)
        callback = Publish(f"{queue}_callback", b"callback")
        commits = [
            Commit(states=(_success("task_x"),), chord=ChordCheck("group_gone", 1), settle=Settle(member)),
            Commit(trigger=Trigger("group_gone", "us", (), (callback,)), settle=Settle(trigger)),
        ]
        assert here.verbs.commit(commits) == ["done", "done"]
        assert here.verbs.commit(commits) == ["lost", "lost"]
        assert here.verbs.pending(f"{queue}_callback") == []

    def test_racing_for_one_chord(self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str) -> None:
        racers = 8
        start = threading.Barrier(racers)
        outcomes: list[str] = []
        taps = [tap(queue, prefetch=1) for _ in range(racers)]
        taps[0].publish(queue, *(b"member" for _ in range(racers)))
        held = [each.take(1)[0].delivery for each in taps]

        def race(n: int) -> None:
            here = taps[n]
            here.verbs.enlist(backend)
            callback = Publish(f"{queue}_callback", f"{n}".encode())
            start.wait(30)
            trigger = Trigger(group.GroupUUID, f"task_{n}", (), (callback,))
            commit = Commit(trigger=trigger, settle=Settle(held[n]))
            outcomes.extend(here.verbs.commit([commit]))

        threads = [threading.Thread(target=race, args=(n,)) for n in range(racers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert outcomes == ["done"] * racers
        assert len(taps[0].verbs.pending(f"{queue}_callback")) == 1
