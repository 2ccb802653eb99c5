"""The contract of states: a backend keeps each state in its exact form until it expires."""

from __future__ import annotations

import time
from uuid import uuid4

import msgspec
import pytest

from gearmesh.errors import Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts.store import (
    CREATED,
    CREATED_EXACTLY,
    BackendFixtures,
    OpenBackend,
    an_int,
    make_state,
    read_state,
)
from gearmesh.testing.waiting import eventually
from gearmesh.wire.state import FAILURE, RECEIVED, RETRY, STARTED, SUCCESS, TaskResult


class StateContract(BackendFixtures):
    """States are read as they were written, until they expire."""

    def test_attributes(self, open_backend: OpenBackend) -> None:
        backend = open_backend(expire=77)
        assert backend.expire == 77
        assert backend.keeps is True
        assert isinstance(backend.connection_errors, tuple)
        backend.close()

    def test_a_state_is_read_as_written(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid)])
        assert backend.read([uuid]) == [make_state(uuid)]

    def test_states_come_in_the_order_asked_for(self, backend: Backend) -> None:
        uuids = [f"task_{n}_{uuid4()}" for n in range(500)]
        backend.write([make_state(uuid) for uuid in uuids])
        asked = [*reversed(uuids), "task_none", uuids[3]]
        assert [state and state.TaskUUID for state in backend.read(asked)] == [
            *reversed(uuids),
            None,
            uuids[3],
        ]
        assert backend.read([]) == []
        backend.write([])

    def test_later_states_keep_name_and_time(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid)])
        for later in (
            make_state(uuid, RECEIVED),
            make_state(uuid, STARTED),
            make_state(uuid, RETRY),
            make_state(uuid, SUCCESS, Results=(an_int(3),)),
            make_state(uuid, FAILURE, Error="boom"),
        ):
            backend.write([later])
            expected = (
                msgspec.structs.replace(later, TaskName="add", CreatedAt=CREATED) if self.merges else later
            )
            assert backend.read([uuid]) == [expected]

    def test_times_keep_their_digits(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid, CreatedAt=CREATED_EXACTLY)])
        state = read_state(backend, uuid)
        whole, _, fraction = CREATED_EXACTLY.rstrip("Z").partition(".")
        assert state.CreatedAt == f"{whole}.{fraction[: self.digits]}Z"

    def test_one_write_may_hold_several_states_of_a_task(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid), make_state(uuid, STARTED), make_state(uuid, SUCCESS, Results=())])
        state = read_state(backend, uuid)
        assert (state.State, state.Results) == (SUCCESS, ())
        assert state.TaskName == ("add" if self.merges else "")

    def test_a_state_without_a_pending_one(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid, SUCCESS, Results=(an_int(1),))])
        assert backend.read([uuid]) == [make_state(uuid, SUCCESS, Results=(an_int(1),))]

    def test_pending_is_stored_as_it_is(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid), make_state(uuid, FAILURE, Error="boom")])
        again = make_state(uuid, TaskName="other", CreatedAt="2027-01-01T00:00:00Z")
        backend.write([again])
        assert backend.read([uuid]) == [again]

    @pytest.mark.parametrize("final", [SUCCESS, FAILURE])
    @pytest.mark.parametrize("early", [RECEIVED, STARTED])
    def test_early_never_replaces_final(self, backend: Backend, uuid: str, final: str, early: str) -> None:
        backend.write([make_state(uuid, final)])
        backend.write([make_state(uuid, early)])
        assert read_state(backend, uuid).State == final

    def test_no_results_yet_and_none_at_all(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid)])
        assert [state and state.Results for state in backend.read([uuid])] == [None]
        backend.write([make_state(uuid, SUCCESS, Results=())])
        assert [state and state.Results for state in backend.read([uuid])] == [()]

    @pytest.mark.parametrize(
        "result",
        [
            an_int(2**63 - 1),
            TaskResult(Type="uint64", Value=msgspec.Raw(b"18446744073709551615")),
            TaskResult(Type="float64", Value=msgspec.Raw(b"1e+21")),
            TaskResult(Type="float64", Value=msgspec.Raw(b"-0")),
            TaskResult(
                Type="string",
                Value=msgspec.Raw(b'"\\",\\"State\\":\\"FAILURE\\" \\u003c \xf0\x9f\x9a\x80 \xe2\x82\xac"'),
            ),
            TaskResult(Type="[]uint8", Value=msgspec.Raw(b'"AAH/"')),
            TaskResult(Type="[]string", Value=msgspec.Raw(b"[]")),
            TaskResult(Type="bool", Value=msgspec.Raw(b"true")),
        ],
        ids=lambda result: str(result.Type),
    )
    def test_results_keep_type_and_text(self, backend: Backend, uuid: str, result: TaskResult) -> None:
        if result == self.unstorable:
            pytest.skip("this backend refuses this result")
        backend.write([make_state(uuid), make_state(uuid, SUCCESS, Results=(result, result))])
        state = read_state(backend, uuid)
        assert state.Results is not None
        assert [(r.Type, bytes(r.Value)) for r in state.Results] == [(result.Type, bytes(result.Value))] * 2

    def test_texts_that_look_like_fields(self, backend: Backend, uuid: str) -> None:
        trap = '","State":"SUCCESS","Results":null,"CreatedAt":"x"} \\ \u2028 \x00 é'
        backend.write([make_state(uuid, TaskName=trap), make_state(uuid, FAILURE, Error=trap)])
        state = read_state(backend, uuid)
        assert (state.State, state.Error) == (FAILURE, trap)
        if self.merges:
            assert (state.TaskName, state.CreatedAt) == (trap, CREATED)

    def test_a_large_result(self, backend: Backend, uuid: str) -> None:
        value = msgspec.Raw(b'"' + b"x" * self.largest + b'"')
        backend.write(
            [make_state(uuid), make_state(uuid, SUCCESS, Results=(TaskResult(Type="string", Value=value),))]
        )
        state = read_state(backend, uuid)
        assert state.Results is not None
        assert bytes(state.Results[0].Value) == bytes(value)

    def test_a_refused_state_is_named(self, backend: Backend, uuid: str) -> None:
        """The error names the refused state. The others of the same write are stored, at once or if it is repeated."""
        if self.unstorable is None:
            pytest.skip("this backend refuses no result")
        bad, good = f"{uuid}_bad", f"{uuid}_good"
        backend.write([make_state(bad), make_state(good)])
        with pytest.raises(Unstorable) as refused:
            backend.write(
                [
                    make_state(bad, SUCCESS, Results=(self.unstorable,)),
                    make_state(good, SUCCESS, Results=(an_int(1),)),
                ]
            )
        assert refused.value.uuid == bad
        assert refused.value.reason
        assert bad in str(refused.value)
        backend.write([make_state(good, SUCCESS, Results=(an_int(1),))])
        backend.write([make_state(bad, FAILURE, Error=refused.value.reason)])
        assert [state and state.State for state in backend.read([bad, good])] == [FAILURE, SUCCESS]

    def test_another_handle_sees_the_same(
        self, open_backend: OpenBackend, backend: Backend, uuid: str
    ) -> None:
        backend.write([make_state(uuid)])
        other = open_backend()
        assert other.read([uuid]) == [make_state(uuid)]
        other.close()
        assert backend.read([uuid]) == [make_state(uuid)]

    def test_states_and_groups_expire(self, open_backend: OpenBackend) -> None:
        backend = open_backend(expire=self.short_expire)
        started = time.monotonic()
        meta = self.group(backend, 2)
        states, read = backend.read(meta.TaskUUIDs), backend.read_group(meta.GroupUUID)
        if time.monotonic() - started < 0.9:  # otherwise they may have expired on a slow machine
            assert None not in states
            assert read == meta
        eventually(lambda: backend.read(meta.TaskUUIDs) == [None, None])
        assert time.monotonic() - started >= 0.9
        eventually(lambda: backend.read_group(meta.GroupUUID) is None)
        backend.close()

    def test_writing_and_touching_let_live(self, open_backend: OpenBackend, uuid: str) -> None:
        backend = open_backend(expire=self.short_expire)
        longest = 1.0
        while longest > 0.4:  # states may expire on a machine that pauses for that long, so try again
            longest, began = 0.0, time.monotonic()
            at = began
            meta = self.group(backend, 1)
            backend.write([make_state(uuid)])
            while at < began + self.short_expire + 0.6:
                backend.touch([meta.GroupUUID, *meta.TaskUUIDs, "task_none"])
                backend.write([make_state(uuid, STARTED)])
                time.sleep(0.1)
                at, longest = time.monotonic(), max(longest, time.monotonic() - at)
            states, group = backend.read([uuid, *meta.TaskUUIDs]), backend.read_group(meta.GroupUUID)
            longest = max(longest, time.monotonic() - at)
        assert None not in states
        assert group == meta
        assert backend.read(["task_none"]) == [None]
        backend.touch([])
        backend.close()

    def test_purge(self, backend: Backend, uuid: str) -> None:
        meta = self.group(backend, 2)
        backend.write([make_state(uuid)])
        backend.purge([meta.GroupUUID, meta.TaskUUIDs[0], "task_none"])
        backend.purge([])
        assert backend.read_group(meta.GroupUUID) is None
        assert [state is None for state in backend.read([*meta.TaskUUIDs, uuid])] == [True, False, False]
