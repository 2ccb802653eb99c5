"""The groups that a process remembers: a completion looks at each member once, however large the group."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.commits import group_cache as module
from gearmesh.commits.group_cache import GroupCache
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.state import GroupMeta


def meta(uuid: str, size: int = 2) -> GroupMeta:
    return GroupMeta(GroupUUID=uuid, TaskUUIDs=tuple(f"{uuid}{n}" for n in range(size)))


class Store:
    """Loads any group, with two members, except "gone"; records the requests."""

    def __init__(self, expire: int = 60, limit: int = 256) -> None:
        self.loaded: list[str] = []
        self.touched: list[Sequence[str]] = []
        self.groups = GroupCache(self.load, self.touched.append, expire, max_groups=limit)

    def load(self, uuid: str) -> GroupMeta | None:
        self.loaded.append(uuid)
        return None if uuid == "gone" else meta(uuid)


def test_a_group_is_read_once() -> None:
    store = Store()
    group = store.groups.get("a")
    assert group is not None
    assert (group.members, group.known) == (("a0", "a1"), 0)
    assert store.groups.get("a") is group
    assert store.loaded == ["a"]


def test_a_group_that_is_gone_is_looked_for_again() -> None:
    store = Store()
    assert store.groups.get("gone") is None
    assert store.groups.get("gone") is None
    assert store.loaded == ["gone", "gone"]
    assert store.touched == []


def test_a_group_whose_meta_is_at_hand_is_not_read() -> None:
    store = Store()
    group = store.groups.put(meta("a", 3))
    assert store.groups.put(meta("a", 3)) is group, "the first one has its progress"
    assert store.groups.get("a") is group
    assert store.loaded == []


def test_the_least_recently_used_group_is_forgotten_first() -> None:
    store = Store(limit=2)
    for uuid in ("a", "b", "a", "c", "a", "b"):
        store.groups.get(uuid)
    assert store.loaded == ["a", "b", "c", "b"]


def test_progress_never_goes_back_and_a_finished_group_is_forgotten() -> None:
    store = Store()
    group = store.groups.put(meta("a", 3))
    store.groups.note("a", 2)
    store.groups.note("a", 1)
    assert group.known == 2
    assert store.groups.get("a") is group
    store.groups.note("a", 3)
    store.groups.note("a", 3)
    assert store.groups.get("a") is not group


def test_a_group_s_keys_are_kept_alive_ten_times_in_their_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns))
    store = Store(expire=60)
    for step in range(60):
        now = 1000.0 + step
        store.groups.get("a")
    assert store.touched[0] == ("a", "a0", "a1"), "at the first look, and the meta with its members"
    assert len(store.touched) == 9


@pytest.mark.parametrize(
    ("created", "touched"),
    [
        pytest.param(lambda: format_ns(time.time_ns()), False, id="now"),
        pytest.param(lambda: format_ns(time.time_ns() - 370 * 10**9), True, id="a tenth of its life ago"),
        pytest.param(lambda: format_ns(time.time_ns() + 60 * 10**9), True, id="by a clock that is ahead"),
        pytest.param(lambda: "no time", True, id="unknown"),
    ],
)
def test_the_first_look_touches_no_group_that_was_sent_just_now(
    created: Callable[[], str], touched: bool
) -> None:
    seen: list[Sequence[str]] = []
    sent = GroupMeta(GroupUUID="a", TaskUUIDs=("a0",), CreatedAt=created())
    groups = GroupCache(lambda uuid: sent, seen.append, 3600)
    groups.get("a")
    assert seen == ([("a", "a0")] if touched else [])


def test_a_group_that_is_forgotten_begins_anew() -> None:
    store = Store()
    store.groups.put(meta("a")).known = 1
    store.groups.forget("a")
    store.groups.forget("a")
    assert store.groups.put(meta("a")).known == 0


# -- members whose end this process has stored


@given(st.lists(st.lists(st.integers(0, 11), max_size=5), max_size=12), st.integers(0, 12))
def test_leading_members_that_ended_here_are_known(batches: list[list[int]], noted: int) -> None:
    groups = GroupCache(lambda uuid: None)
    group = groups.put(meta("a", 12))
    groups.note("a", min(noted, 11))
    ended = set(range(min(noted, 11)))
    for batch in batches:
        groups.ended("a", [f"a{n}" for n in batch])
        ended.update(batch)
        assert group.known == next(n for n in range(13) if n not in ended)


def test_ends_far_behind_a_member_that_runs_are_not_remembered_forever() -> None:
    groups = GroupCache(lambda uuid: None)
    group = groups.put(meta("a", 30_000))
    for start in range(1, 30_000, 500):
        groups.ended("a", group.members[start : start + 500])
        assert len(group.ahead) <= module.MAX_ENDED_OUT_OF_ORDER
    assert group.known == 0
    groups.ended("a", group.members[:1])
    assert 0 < group.known < 30_000, "the others are read"


def test_an_end_in_a_group_that_is_not_remembered_is_nothing() -> None:
    GroupCache(lambda uuid: None).ended("a", ["a0"])


# -- members that are looked at from here


class Ending:
    """A backend whose first ``final`` members have ended; counts the looks at members."""

    def __init__(self, size: int) -> None:
        self.meta, self.final = meta("g", size), 0
        self.looks: list[Sequence[str]] = []
        self.groups = GroupCache(lambda uuid: self.meta, lambda keys: None, 60)

    def finished(self) -> bool:
        return self.groups.finished(self.meta, self.leading)

    def leading(self, uuids: Sequence[str]) -> int:
        self.looks.append(uuids)
        first = self.meta.TaskUUIDs.index(uuids[0])
        return max(0, min(self.final - first, len(uuids)))


@given(st.integers(1, 1500), st.data())
def test_a_group_is_finished_exactly_when_all_its_members_are(size: int, data: st.DataObject) -> None:
    ending = Ending(size)
    ends = data.draw(st.lists(st.integers(0, size), max_size=6).map(sorted))
    for ending.final in ends:
        assert ending.finished() is (ending.final == size)


def test_members_known_to_be_final_are_never_looked_at_again() -> None:
    size = 600
    ending = Ending(size)
    for ending.final in range(1, size + 1):
        assert ending.finished() is (ending.final == size)
    assert sum(map(len, ending.looks)) <= 3 * size, "a completion costs the same in any group"


def test_a_group_that_ended_elsewhere_is_read_in_few_looks_of_bounded_size() -> None:
    ending = Ending(2000)
    ending.final = 2000
    assert ending.finished()
    assert len(ending.looks) <= 9
    assert max(map(len, ending.looks)) <= 512
    assert len(ending.looks[0]) == 2, "most find that the next one still runs"


def test_an_empty_group_is_finished() -> None:
    ending = Ending(0)
    assert ending.finished()
    assert ending.looks == []
