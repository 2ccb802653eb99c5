"""The contract of groups: a group is finished when all members are, and only one caller triggers its chord."""

from __future__ import annotations

import math
import random
import time
from uuid import uuid4

import msgspec
import pytest

from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts.store import (
    CREATED,
    BackendFixtures,
    OpenBackend,
    an_int,
    make_state,
    race,
    read_state,
)
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, GroupMeta

#: Number of tries until both groups have answered quickly once; other programs of the machine may slow many tries.
MAX_LOOKS = 300


def _seconds(backend: Backend, meta: GroupMeta) -> float:
    """Ask whether an unfinished group is finished, and return the seconds that the answer took."""
    began = time.perf_counter()
    assert backend.finished(meta) is False
    return time.perf_counter() - began


def _check_costs(backend: Backend, metas: list[GroupMeta]) -> None:
    """Fail unless the quickest answer for the large group takes about as long as the quickest for the small one."""
    small = large = math.inf
    for _ in range(MAX_LOOKS):
        small, large = (
            min(before, _seconds(backend, meta)) for before, meta in zip((small, large), metas, strict=True)
        )
        if large < 4 * small + 0.0002:
            return
    raise AssertionError(f"{small:.6f} s for the small group, {large:.6f} s for the large one")


class GroupContract(BackendFixtures):
    """Tests that a group is finished when all its members are, and that its chord is triggered once."""

    def test_group_meta(self, backend: Backend) -> None:
        meta = self.group(backend, 3)
        assert backend.read_group(meta.GroupUUID) == meta
        assert backend.read_group("group_none") is None

    def test_a_task_is_no_group(self, backend: Backend) -> None:
        state = make_state(f"task_{uuid4()}")
        backend.write([state])
        assert backend.read_group(state.TaskUUID) is None

    def test_finished_when_all_are_final(self, backend: Backend) -> None:
        meta = self.group(backend, 40)
        order = list(meta.TaskUUIDs)
        random.Random(1).shuffle(order)
        for n, uuid in enumerate(order):
            assert backend.finished(meta) is False
            if n % 4 == 0:
                backend.write([make_state(uuid, STARTED)])
                assert backend.finished(meta) is False
            backend.write([make_state(uuid, FAILURE if n % 3 else SUCCESS)])
        assert backend.finished(meta) is True
        assert backend.finished(meta) is True

    def test_a_missing_member_is_not_final(self, backend: Backend) -> None:
        meta = self.group(backend, 2)
        backend.write([make_state(uuid, SUCCESS) for uuid in meta.TaskUUIDs])
        backend.purge(meta.TaskUUIDs[:1])
        assert backend.finished(meta) is False

    def test_finished_does_not_read_all_members(self, backend: Backend) -> None:
        """While a middle member runs, the first call may read half of the members, but later calls only that member.

        The quickest call for each group counts, since other programs of the machine disturbed it least.
        """
        metas = [self.group(backend, members) for members in (self.large // 10, self.large)]
        for meta in metas:
            running = meta.TaskUUIDs[len(meta.TaskUUIDs) // 2]
            backend.write([make_state(uuid, SUCCESS) for uuid in meta.TaskUUIDs if uuid != running])
            assert backend.finished(meta) is False
        _check_costs(backend, metas)

    def test_a_completion_costs_the_same_in_a_large_group(self, backend: Backend) -> None:
        """A member costs the same in a large group, so all members together cost O(n)."""
        metas = [self.group(backend, members) for members in (self.large // 10, self.large)]
        for start in range(0, self.large // 10, 10):
            if start % 100 == 0:
                _check_costs(backend, metas)
            for meta in metas:
                backend.write([make_state(uuid, SUCCESS) for uuid in meta.TaskUUIDs[start : start + 10]])
        assert [backend.finished(meta) for meta in metas] == [True, False]

    def trigger(self, backend: Backend, group_uuid: str, by: str) -> bool:
        """Take the trigger; try again while another caller tries to take it."""
        while True:
            try:
                return backend.trigger(group_uuid, by)
            except ChordBusy:
                time.sleep(0.002)

    def test_the_trigger_is_taken_once(self, backend: Backend) -> None:
        meta = self.group(backend, 1)
        assert backend.trigger(meta.GroupUUID, "first") is True
        assert backend.trigger(meta.GroupUUID, "second") is False
        assert backend.trigger(meta.GroupUUID, "first") is True, (
            "a redelivery of the first member keeps the trigger"
        )
        assert backend.trigger(meta.GroupUUID, "second") is False
        assert backend.read_group(meta.GroupUUID) == msgspec.structs.replace(meta, ChordTriggered=True)

    def test_a_trigger_go_has_taken(self, backend: Backend) -> None:
        meta = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=("task_x",), ChordTriggered=True)
        backend.create_group(meta)
        assert backend.trigger(meta.GroupUUID, "us") is False

    def test_a_group_whose_names_look_like_fields(self, backend: Backend) -> None:
        trap = 'task_","ChordTriggered":false,"x":"'
        meta = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=(trap,), CreatedAt=CREATED)
        backend.create_group(meta)
        assert backend.trigger(meta.GroupUUID, "first") is True
        assert backend.trigger(meta.GroupUUID, "second") is False
        assert backend.read_group(meta.GroupUUID) == msgspec.structs.replace(meta, ChordTriggered=True)

    def test_no_group_no_trigger(self, backend: Backend) -> None:
        with pytest.raises(BackendError, match="group_none"):
            backend.trigger("group_none", "us")

    def test_exactly_one_of_32_threads_triggers(self, open_backend: OpenBackend, backend: Backend) -> None:
        backends = [open_backend() for _ in range(4)]
        for _ in range(3):
            group = self.group(backend, 2).GroupUUID

            def take(n: int, group: str = group) -> bool:
                return self.trigger(backends[n % 4], group, f"racer {n}")

            won = race(32, take)
            assert sum(won) == 1
            assert self.trigger(backend, group, f"racer {won.index(True)}") is True
        for each in backends:
            each.close()

    def test_safe_in_threads(self, backend: Backend) -> None:
        def work(n: int) -> None:
            for i in range(self.each):
                uuid = f"task_{n}_{i}_{uuid4()}"
                backend.write([make_state(uuid), make_state(uuid, SUCCESS, Results=(an_int(i),))])
                assert read_state(backend, uuid).Results == (an_int(i),)
                meta = self.group(backend, 3)
                assert backend.finished(meta) is False
                assert self.trigger(backend, meta.GroupUUID, uuid) is True

        race(8, work)
