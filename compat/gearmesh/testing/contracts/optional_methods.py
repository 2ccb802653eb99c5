"""The contract of a backend's optional methods: claims, progress reports, revocations, search, conditional writes."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import time
from typing import TypeVar

import pytest

from gearmesh.interfaces.backend import (
    Backend,
    SupportsClaims,
    SupportsConditionalWrite,
    SupportsProgress,
    SupportsRevocation,
    SupportsSearch,
)
from gearmesh.testing.contracts.store import (
    CREATED,
    BackendFixtures,
    OpenBackend,
    make_state,
    race,
    read_state,
)
from gearmesh.testing.waiting import eventually
from gearmesh.wire.state import FAILURE, PENDING, STARTED, SUCCESS, GroupMeta, TaskState

__all__ = ["OptionalMethodsContract"]

P = TypeVar("P")


class OptionalMethodsContract(BackendFixtures):
    """Tests of the optional protocols of a backend; a test is skipped if the backend lacks its protocol."""

    def test_missing_methods_are_declared(self, backend: Backend) -> None:
        """Fail unless ``lacks`` names exactly the missing methods, so that no test is skipped by mistake."""
        kinds = {
            "claims": SupportsClaims,
            "reports": SupportsProgress,
            "revocations": SupportsRevocation,
            "searching": SupportsSearch,
            "yielding": SupportsConditionalWrite,
        }
        lacks = {name for name, kind in kinds.items() if not isinstance(backend, kind)}
        stop = backend.watch(lambda succeeded, failed, states: None)
        if stop is None:
            lacks.add("announcements")
        else:
            stop()
        assert lacks == self.lacks

    def test_a_failure_that_yields_goes_over_all_but_success(self, backend: Backend, uuid: str) -> None:
        yielding = _having(backend, SupportsConditionalWrite)
        for before in (None, PENDING, STARTED, FAILURE):
            task = f"{uuid}_{before}"
            if before is not None:
                backend.write([TaskState(TaskUUID=task, State=before, Error="old" * (before == FAILURE))])
            yielding.write_unless_success([TaskState(TaskUUID=task, State=FAILURE, Error="new")])
            state = read_state(backend, task)
            assert (state.State, state.Error) == (FAILURE, "new")
        backend.write([TaskState(TaskUUID=uuid, State=SUCCESS, Results=())])
        others = TaskState(TaskUUID=f"{uuid}_other", State=FAILURE, Error="new")
        yielding.write_unless_success([TaskState(TaskUUID=uuid, State=FAILURE, Error="new"), others])
        kept = read_state(backend, uuid)
        assert (kept.State, kept.Results, kept.Error) == (SUCCESS, (), "")
        assert read_state(backend, others.TaskUUID).State == FAILURE
        yielding.write_unless_success([])

    def test_a_success_is_never_lost_to_a_failure_in_the_same_moment(
        self, backend: Backend, uuid: str
    ) -> None:
        yielding = _having(backend, SupportsConditionalWrite)
        tasks = [f"{uuid}_{n}" for n in range(100)]
        backend.write([TaskState(TaskUUID=task, State=STARTED) for task in tasks])

        def succeed() -> None:
            for task in tasks:
                backend.write([TaskState(TaskUUID=task, State=SUCCESS, Results=())])

        def fail() -> None:
            for task in tasks:
                yielding.write_unless_success([TaskState(TaskUUID=task, State=FAILURE, Error="late")])

        race(3, lambda n: fail() if n else succeed())
        assert {state and state.State for state in backend.read(tasks)} == {SUCCESS}

    def test_the_last_report_is_kept(self, backend: Backend, uuid: str) -> None:
        reporting = _having(backend, SupportsProgress)
        reporting.report({uuid: b"first", f"{uuid}2": b"other"})
        reporting.report({uuid: b"second"})
        reporting.report({})
        assert reporting.reports([f"{uuid}2", "task_none", uuid]) == [b"other", None, b"second"]
        assert reporting.reports([]) == []

    def test_reports_and_states_do_not_meet(self, backend: Backend, uuid: str) -> None:
        reporting = _having(backend, SupportsProgress)
        reporting.report({uuid: b"report"})
        assert backend.read([uuid]) == [None]
        backend.write([TaskState(TaskUUID=uuid, State=SUCCESS)])
        assert reporting.reports([uuid]) == [b"report"]

    def test_reports_expire(self, open_backend: OpenBackend, uuid: str) -> None:
        backend = open_backend(expire=1)
        reporting = _having(backend, SupportsProgress)
        reporting.report({uuid: b"report"})
        eventually(lambda: reporting.reports([uuid]) == [None])
        backend.close()

    def test_purge_forgets_reports(self, backend: Backend, uuid: str) -> None:
        reporting = _having(backend, SupportsProgress)
        reporting.report({uuid: b"report"})
        backend.purge([uuid])
        assert reporting.reports([uuid]) == [None]

    def test_a_revocation_is_known_to_all_clients(
        self, backend: Backend, open_backend: OpenBackend, uuid: str
    ) -> None:
        other = open_backend()
        mine, theirs = _having(backend, SupportsRevocation), _having(other, SupportsRevocation)
        mine.revoke([uuid], 60)
        mine.revoke([uuid], 30)
        left = theirs.revoked()
        assert set(left) == {uuid}
        assert 30 < left[uuid] <= 60
        other.close()

    def test_many_are_revoked_at_once(self, backend: Backend) -> None:
        revoking = _having(backend, SupportsRevocation)
        uuids = [f"task_{number}" for number in range(1000)]
        revoking.revoke(uuids, 60)
        assert set(revoking.revoked()) == set(uuids)

    def test_revocations_end(self, backend: Backend, uuid: str) -> None:
        revoking = _having(backend, SupportsRevocation)
        revoking.revoke([uuid], 0.05)
        eventually(lambda: not revoking.revoked())

    def test_a_watch_gets_old_and_new_revocations(
        self, backend: Backend, open_backend: OpenBackend, uuid: str
    ) -> None:
        other = open_backend()
        mine, theirs = _having(backend, SupportsRevocation), _having(other, SupportsRevocation)
        odd = f"{uuid} 100% ü:1"
        theirs.revoke([uuid], 60)
        told: dict[str, float] = {}
        stop = mine.watch_revoked(told.update)
        eventually(lambda: uuid in told)
        theirs.revoke([odd, "task_next"], 60)
        eventually(lambda: len(told) == 3)
        assert set(told) == {uuid, odd, "task_next"}
        assert all(50 < seconds <= 60 for seconds in told.values())
        stop()
        other.close()

    def test_uuids_are_found_by_their_first_characters(self, backend: Backend, uuid: str) -> None:
        searching = _having(backend, SupportsSearch)
        tasks = [f"{uuid}_a1", f"{uuid}_a2", f"{uuid}_b*[?\\]"]
        backend.write([make_state(task) for task in tasks])
        backend.create_group(GroupMeta(GroupUUID=f"{uuid}_group", TaskUUIDs=tuple(tasks), CreatedAt=CREATED))
        assert sorted(searching.find_uuids(f"{uuid}_a", 10)) == tasks[:2]
        assert len(searching.find_uuids(f"{uuid}_a", 1)) == 1
        assert len(searching.find_uuids(uuid, 10)) == 4
        assert searching.find_uuids(tasks[2], 10) == [tasks[2]]
        for none in (f"{uuid}_*", f"{uuid}_c", f"{uuid}_[ab]"):
            assert searching.find_uuids(none, 10) == []
        backend.purge([tasks[0]])
        assert searching.find_uuids(f"{uuid}_a", 10) == [tasks[1]]

    def test_a_claim_has_one_holder(self, backend: Backend, open_backend: OpenBackend, uuid: str) -> None:
        other = open_backend()
        mine, theirs = _having(backend, SupportsClaims), _having(other, SupportsClaims)
        key = f"gearmesh:unique:a name:{uuid}"
        assert mine.claim(key, "one", 60) == "one"
        assert theirs.claim(key, "two", 60) == "one"
        assert mine.claim(key, "one", 60) == "one"
        theirs.release([(key, "two")])
        assert theirs.claim(key, "two", 60) == "one"
        theirs.release([(f"{key} nobody's", "one"), (key, "one")])
        assert theirs.claim(key, "two", 60) == "two"
        theirs.release([(f"{key} nobody's", "two")])
        other.close()

    def test_a_claim_ends(self, backend: Backend, uuid: str) -> None:
        claiming = _having(backend, SupportsClaims)
        began = time.monotonic()
        assert claiming.claim(uuid, "one", 0.5) == "one"
        eventually(lambda: claiming.claim(uuid, "two", 60) == "two")
        assert time.monotonic() - began >= 0.45

    def test_one_of_many_claims(self, open_backend: OpenBackend, uuid: str) -> None:
        backends = [open_backend() for _ in range(4)]
        claiming = [_having(each, SupportsClaims) for each in backends]
        holders = race(16, lambda n: claiming[n % 4].claim(uuid, f"racer {n}", 60))
        assert len(set(holders)) == 1
        assert holders[0] in {f"racer {n}" for n in range(16)}
        for backend in backends:
            backend.close()


def _having(backend: Backend, protocol: type[P]) -> P:
    """Return the backend with the type ``protocol``; skip the test if it does not support that protocol."""
    if not isinstance(backend, protocol):
        pytest.skip(f"the backend does not support {protocol.__name__}")
    return backend
