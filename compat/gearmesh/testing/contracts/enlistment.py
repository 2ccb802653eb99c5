"""The contract of an enlisted backend: the broker writes its states in the step that settles."""

from __future__ import annotations

from uuid import uuid4

import msgspec
import pytest

from gearmesh.backends.null import NullBackend
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Publish, Settle, Trigger
from gearmesh.testing.contracts.store import CREATED, an_int, make_state, race, read_state
from gearmesh.testing.contracts.support import OpenTap, Tap, TransportFixtures
from gearmesh.wire.state import FAILURE, RECEIVED, STARTED, SUCCESS, GroupMeta


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
        backend.write([make_state(uuid) for uuid in uuids])
        return meta

    @pytest.fixture
    def here(self, tap: OpenTap, backend: Backend, queue: str) -> Tap:
        """Return a consumer of the queue, whose channel has enlisted the backend."""
        here = tap(queue)
        assert here.verbs.enlist(backend) is True
        return here

    def test_not_with_another_backend(self, tap: OpenTap) -> None:
        here = tap()
        assert here.verbs.enlist(NullBackend()) is False

    def test_without_enlisting_states_are_ignored(self, tap: OpenTap, backend: Backend, queue: str) -> None:
        here = tap(queue)
        (delivery,) = _held(here, queue, 1)
        commit = Commit(states=(make_state("task_x"),), settle=Settle(delivery))
        assert here.verbs.commit([commit]) == ["done"]
        assert backend.read(["task_x"]) == [None]

    def test_states_are_written_and_merged(self, here: Tap, backend: Backend, queue: str) -> None:
        here.verbs.commit([Commit(states=(make_state("task_x"),), publishes=(Publish(queue, b"x"),))])
        (message,) = here.take(1)
        assert backend.read(["task_x"]) == [make_state("task_x")]
        success = make_state("task_x", SUCCESS, Results=(an_int(1),))
        assert here.verbs.commit([Commit(states=(success,), settle=Settle(message.delivery))]) == ["done"]
        merged = msgspec.structs.replace(success, TaskName="add", CreatedAt=CREATED)
        assert backend.read(["task_x"]) == [merged]

    def test_a_final_state_stays(self, here: Tap, backend: Backend, queue: str) -> None:
        (delivery,) = _held(here, queue, 1)
        failure = make_state("task_x", FAILURE, Error="boom")
        early = [make_state("task_x", state) for state in (RECEIVED, STARTED)]
        commits = [Commit(states=(failure, early[0])), Commit(states=(early[1],), settle=Settle(delivery))]
        assert here.verbs.commit(commits) == ["done", "done"]
        state = read_state(backend, "task_x")
        assert (state.State, state.Error) == (FAILURE, "boom")

    def test_a_lost_lease_writes_nothing(self, tap: OpenTap, here: Tap, backend: Backend, queue: str) -> None:
        (delivery,) = _held(here, queue, 1)
        assert tap().verbs.recover(here.name, [queue]) == 1
        commit = Commit(
            states=(make_state("task_x", SUCCESS),),
            publishes=(Publish(f"{queue}_next", b"x"),),
            settle=Settle(delivery),
        )
        assert here.verbs.commit([commit]) == ["lost"]
        assert backend.read(["task_x"]) == [None]
        assert here.waiting(f"{queue}_next") == []

    def test_the_last_member_completes_the_chord(
        self, here: Tap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        chord = ChordCheck(group.GroupUUID, 3)
        deliveries = _held(here, queue, 3)
        child = (Publish(f"{queue}_child", b"child"),)
        commits = [
            Commit(states=(make_state(uuid, SUCCESS),), publishes=child, chord=chord, settle=Settle(delivery))
            for uuid, delivery in zip(group.TaskUUIDs, deliveries, strict=True)
        ]
        assert here.verbs.commit([commits[2]]) == ["done"]
        assert here.verbs.commit(commits[:2]) == ["done", "complete"]
        assert all(state is not None and state.success for state in backend.read(group.TaskUUIDs))
        assert here.waiting(f"{queue}_child") == [b"child"] * 2, (
            "a commit with the outcome complete sends nothing"
        )

        callback, pending = Publish(f"{queue}_callback", b"callback"), make_state("task_callback")
        trigger = Trigger(group.GroupUUID, group.TaskUUIDs[1], (pending,), (callback,))
        last = msgspec.structs.replace(commits[1], chord=None, trigger=trigger)
        assert here.verbs.commit([last]) == ["done"], "the delivery must still be held"
        assert here.verbs.commit([last]) == ["lost"]
        assert here.waiting(f"{queue}_child") == [b"child"] * 3
        assert here.waiting(f"{queue}_callback") == [b"callback"]
        assert backend.read(["task_callback"]) == [pending]
        meta = backend.read_group(group.GroupUUID)
        assert meta is not None
        assert meta.ChordTriggered

    def test_a_failed_member_is_final_too(self, here: Tap, group: GroupMeta, queue: str) -> None:
        chord = ChordCheck(group.GroupUUID, 3)
        deliveries = _held(here, queue, 3)
        commits = [
            Commit(states=(make_state(uuid, FAILURE, Error="boom"),), chord=chord, settle=Settle(delivery))
            for uuid, delivery in zip(group.TaskUUIDs, deliveries, strict=True)
        ]
        assert here.verbs.commit(commits) == ["done", "done", "complete"]

    def test_only_the_winner_sends_the_callback(
        self, here: Tap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        assert backend.trigger(group.GroupUUID, "somebody")
        (delivery,) = _held(here, queue, 1)
        callback = (Publish(f"{queue}_callback", b"callback"),)
        commit = Commit(
            states=(make_state("task_x", SUCCESS),),
            publishes=(Publish(f"{queue}_child", b"child"),),
            trigger=Trigger(group.GroupUUID, "us", (make_state("task_callback"),), callback),
            settle=Settle(delivery),
        )
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.commit([commit]) == ["lost"]
        assert here.waiting(f"{queue}_callback") == []
        assert here.waiting(f"{queue}_child") == [b"child"], "the other effects do not depend on the trigger"
        assert [state and state.State for state in backend.read(["task_x", "task_callback"])] == [
            SUCCESS,
            None,
        ]

    def test_a_redelivery_of_the_winner_sends_the_callback(
        self, here: Tap, backend: Backend, group: GroupMeta, queue: str
    ) -> None:
        assert backend.trigger(group.GroupUUID, "task_x")
        (delivery,) = _held(here, queue, 1)
        callback = (Publish(f"{queue}_callback", b"callback"),)
        commit = Commit(trigger=Trigger(group.GroupUUID, "task_x", (), callback), settle=Settle(delivery))
        assert here.verbs.commit([commit]) == ["done"]
        assert here.waiting(f"{queue}_callback") == [b"callback"]

    def test_an_unknown_group_never_completes(self, here: Tap, queue: str) -> None:
        member, trigger = _held(here, queue, 2)
        callback = Publish(f"{queue}_callback", b"callback")
        commits = [
            Commit(
                states=(make_state("task_x", SUCCESS),),
                chord=ChordCheck("group_gone", 1),
                settle=Settle(member),
            ),
            Commit(trigger=Trigger("group_gone", "us", (), (callback,)), settle=Settle(trigger)),
        ]
        assert here.verbs.commit(commits) == ["done", "done"]
        assert here.verbs.commit(commits) == ["lost", "lost"]
        assert here.waiting(f"{queue}_callback") == []

    def test_members_of_two_consumers_in_batches_complete_the_chord_once(
        self, tap: OpenTap, here: Tap, backend: Backend, queue: str
    ) -> None:
        uuids = tuple(f"task_{uuid4().hex}" for _ in range(60))
        meta = GroupMeta(GroupUUID=f"group_{uuid4().hex}", TaskUUIDs=uuids, CreatedAt=CREATED)
        backend.create_group(meta)
        backend.write([make_state(uuid) for uuid in uuids])
        there = tap(queue)
        assert there.verbs.enlist(backend) is True
        chord = ChordCheck(meta.GroupUUID, len(uuids))
        commits = [
            Commit(states=(make_state(uuid, SUCCESS),), chord=chord, settle=Settle(delivery))
            for uuid, delivery in zip(
                uuids[::2] + uuids[1::2], _held(here, queue, 30) + _held(there, queue, 30), strict=True
            )
        ]
        assert here.verbs.commit(commits[:30]) == ["done"] * 30
        assert there.verbs.commit(commits[30:]) == ["done"] * 29 + ["complete"]
        assert all(state is not None and state.success for state in backend.read(uuids))
        assert there.verbs.commit(commits[30:]) == ["lost"] * 29 + ["complete"], (
            "the last delivery is still held"
        )

    def test_racing_for_one_chord(self, tap: OpenTap, backend: Backend, group: GroupMeta, queue: str) -> None:
        racers = 8
        taps = [tap(queue, prefetch=1) for _ in range(racers)]
        taps[0].publish(queue, *(b"member" for _ in range(racers)))
        held = [each.take(1)[0].delivery for each in taps]

        def trigger(n: int) -> list[str]:
            callback = Publish(f"{queue}_callback", f"{n}".encode())
            trigger = Trigger(group.GroupUUID, f"task_{n}", (), (callback,))
            return [*taps[n].verbs.commit([Commit(trigger=trigger, settle=Settle(held[n]))])]

        for each in taps:
            each.verbs.enlist(backend)
        assert race(racers, trigger) == [["done"]] * racers
        assert len(taps[0].waiting(f"{queue}_callback")) == 1
