"""The backend contract for DynamoDB, on Amazon's own emulator, and tests of DynamoDB alone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer
from tests.support.tally import Tally

from gearmesh import App, ResultTimeout, chord
from gearmesh.backends.dynamodb import DynamoDBBackend, requests
from gearmesh.backends.dynamodb import backend as backend_module
from gearmesh.backends.dynamodb.items import MAX_ITEM_BYTES
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.config import DynamoDBConfig
from gearmesh.errors import BackendError, ChordBusy, Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract
from gearmesh.testing.contracts.store import CREATED, an_int, make_state, race
from gearmesh.testing.waiting import eventually
from gearmesh.wire.names import DYNAMODB_EXPIRES, DYNAMODB_TRIGGERED_BY
from gearmesh.wire.state import FAILURE, RETRY, STARTED, SUCCESS, GroupMeta, TaskResult
from gearmesh.worker import Worker


def text_result(size: int) -> TaskResult:
    return TaskResult(Type="string", Value=msgspec.Raw(b'"' + b"x" * size + b'"'))


@pytest.fixture
def requested(dynamodb: Tables) -> Tally:
    """Counts the requests of the tables' client, by operation, and the items that are written."""
    counted = Tally()  # the backend reads in several threads

    def count(params: Any, model: Any, **event: Any) -> None:
        counted.add(model.name)
        for batch in params.get("RequestItems", {}).values() if model.name == "BatchWriteItem" else ():
            counted.add("written", len(batch))
        counted.add("written", len(params.get("Statements", ())) + (model.name in ("UpdateItem", "PutItem")))

    dynamodb.client.meta.events.register("provide-client-params.dynamodb", count)
    return counted


@pytest.fixture
def own(dynamodb: Tables) -> Iterator[DynamoDBBackend]:
    """A backend with the tables' client."""
    names = dynamodb.config
    config = DynamoDBConfig(
        task_states_table=names.task_states_table,
        group_metas_table=names.group_metas_table,
        client=dynamodb.client,
    )
    backend = open_url(dynamodb.url, expire=3600, options={"dynamodb": config})
    assert isinstance(backend, DynamoDBBackend)
    yield backend
    backend.close()


class TestDynamoDBBackend(BackendContract):
    lacks = frozenset({"announcements"})
    large = 1_000
    each = 4
    largest = 390_000

    @pytest.fixture
    def open_backend(self, dynamodb: Tables) -> Callable[..., Backend]:
        options = {"dynamodb": dynamodb.config}
        return lambda *, expire=3600: open_url(dynamodb.url, expire=expire, options=options)

    # -- stored items

    def test_the_items_are_go_s(self, backend: Backend, dynamodb: Tables, uuid: str) -> None:
        now = time.time()
        backend.write([make_state(uuid)])
        found = dynamodb.state(uuid)
        assert 3600 <= int(found.pop(DYNAMODB_EXPIRES)["N"]) - now < 3605
        pending = {
            "TaskUUID": {"S": uuid},
            "TaskName": {"S": "add"},
            "State": {"S": "PENDING"},
            "Results": {"NULL": True},
            "Error": {"S": ""},
            "CreatedAt": {"S": CREATED},
            "TTL": {"N": "0"},
        }
        assert found == pending
        for written in (make_state(uuid, STARTED), make_state(uuid, RETRY)):
            backend.write([written])
            found = dynamodb.state(uuid)
            assert found.pop(DYNAMODB_EXPIRES)
            assert found == pending | {"State": {"S": written.State}}
        backend.write([make_state(uuid, SUCCESS, Results=(an_int(5),))])
        found = dynamodb.state(uuid)
        assert 3600 <= int(found.pop("TTL")["N"]) - now < 3605
        result = {"M": {"Type": {"S": "int64"}, "Value": {"N": "5"}}}
        ended = {key: value for key, value in pending.items() if key != "TTL"}
        assert found == ended | {"State": {"S": SUCCESS}, "Results": {"L": [result]}}
        meta = self.group(backend, 2)
        group = dynamodb.group(meta.GroupUUID)
        assert 3600 <= int(group.pop("TTL")["N"]) - now < 3605
        assert group == {
            "GroupUUID": {"S": meta.GroupUUID},
            "TaskUUIDs": {"L": [{"S": each} for each in meta.TaskUUIDs]},
            "ChordTriggered": {"BOOL": False},
            "Lock": {"BOOL": False},
            "CreatedAt": {"S": CREATED},
        }

    def test_batches_keep_name_and_time_and_make_missing_items(self, backend: Backend, uuid: str) -> None:
        """A batch changes existing items. It makes a missing one, unless the write must spare final states."""
        known, unknown, ended = ([f"{uuid}_{kind}_{n}" for n in range(30)] for kind in "kue")
        backend.write([make_state(each) for each in (*known, *ended)])
        backend.write([make_state(each, FAILURE, Error="end") for each in ended])
        backend.write([make_state(each, STARTED) for each in (*known, *unknown, *ended)])
        states = backend.read([*known, *unknown, *ended])
        assert [(state and state.State, state and state.TaskName) for state in states] == [
            *[(STARTED, "add")] * 30,
            *[(STARTED, "")] * 30,
            *[(FAILURE, "add")] * 30,
        ]

    def test_items_that_are_too_large(self, backend: Backend, uuid: str) -> None:
        """The error names size and limit, and costs only its own task, however it is written."""
        for pending in (True, False):
            uuids = [f"{uuid}_{pending}_{n}" for n in range(3)]
            if not pending:
                backend.write([make_state(each) for each in uuids])
            states = [make_state(each, SUCCESS, Results=(an_int(1),)) for each in uuids]
            states[1] = make_state(uuids[1], SUCCESS, Results=(text_result(MAX_ITEM_BYTES),))
            first = [make_state(each) for each in uuids] if pending else []
            with pytest.raises(
                Unstorable, match=r"its item has 409,\d+ bytes.*409,600 \(400 KB\)"
            ) as refused:
                backend.write([*first, *states])
            assert refused.value.uuid == uuids[1]
            found = backend.read(uuids)
            assert [state and state.State for state in (found[0], found[2])] == [SUCCESS, SUCCESS]
        group = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=("x" * 1000,) * 410)
        with pytest.raises(Unstorable, match="400 KB"):
            backend.create_group(group)

    def test_a_size_that_only_dynamodb_knows(
        self, backend: Backend, uuid: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "MAX_ITEM_BYTES", 10**9)
        large = [make_state(f"{uuid}_x"), make_state(f"{uuid}_x", SUCCESS, Results=(text_result(410_000),))]
        with pytest.raises(Unstorable) as refused:
            backend.write([*large, make_state(uuid)])
        assert refused.value.uuid == f"{uuid}_x"
        assert backend.read([uuid, f"{uuid}_x"]) == [make_state(uuid), None]

    # -- expiry

    def test_an_expired_item_that_dynamodb_has_not_deleted_counts_as_gone(
        self, backend: Backend, dynamodb: Tables, uuid: str
    ) -> None:
        past = {"TTL": {"N": str(int(time.time()) - 5)}}
        dynamodb.put_state(TaskUUID={"S": uuid}, State={"S": SUCCESS}, **past)
        assert backend.read([uuid]) == [None]
        assert backend.find_uuids(uuid, 10) == []  # type: ignore[attr-defined]
        backend.touch([uuid])
        assert dynamodb.state(uuid)["TTL"] == past["TTL"], "touch() does not revive an expired item"
        backend.write([make_state(uuid, STARTED)])
        state = backend.read([uuid])[0]
        assert state is not None
        assert state.State == STARTED, "an expired result is not spared"

    def test_go_s_states_do_not_expire_before_they_are_final(
        self, open_backend: Callable[..., Backend], dynamodb: Tables, uuid: str
    ) -> None:
        backend = open_backend(expire=1)
        dynamodb.put_state(TaskUUID={"S": uuid}, State={"S": "PENDING"}, TTL={"N": "0"})
        mine = f"{uuid}_mine"
        backend.write([make_state(mine)])
        eventually(lambda: backend.read([mine]) == [None])
        assert backend.read([uuid])[0] is not None
        backend.touch([uuid])
        assert DYNAMODB_EXPIRES not in dynamodb.state(uuid)
        backend.close()

    # -- groups beside Go

    def test_the_winner_of_a_trigger_is_stored(self, backend: Backend, dynamodb: Tables) -> None:
        meta = self.group(backend, 1)
        assert backend.trigger(meta.GroupUUID, "task_a") is True
        assert dynamodb.group(meta.GroupUUID)[DYNAMODB_TRIGGERED_BY] == {"S": "task_a"}

    def test_a_group_that_go_has_locked_is_left_to_it_for_a_while(
        self, backend: Backend, dynamodb: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meta = self.group(backend, 1)
        self.lock(dynamodb, meta.GroupUUID, True)
        for _ in range(2):
            with pytest.raises(ChordBusy):
                backend.trigger(meta.GroupUUID, "us")
        self.lock(dynamodb, meta.GroupUUID, False)
        assert backend.trigger(meta.GroupUUID, "us") is True
        other = self.group(backend, 1)
        self.lock(dynamodb, other.GroupUUID, True)
        monkeypatch.setattr(backend_module, "GROUP_LOCK_TIMEOUT_S", 0.05)
        with pytest.raises(ChordBusy):
            backend.trigger(other.GroupUUID, "us")
        eventually(lambda: self.took(backend, other.GroupUUID))

    def lock(self, dynamodb: Tables, group: str, locked: bool) -> None:
        """Lock a group as Go does."""
        dynamodb.client.update_item(
            TableName=dynamodb.config.group_metas_table,
            Key={"GroupUUID": {"S": group}},
            UpdateExpression="SET #L = :l",
            ExpressionAttributeNames={"#L": "Lock"},
            ExpressionAttributeValues={":l": {"BOOL": locked}},
        )

    def took(self, backend: Backend, group: str) -> bool:
        """Try once to take a trigger."""
        try:
            return backend.trigger(group, "us")
        except ChordBusy:
            return False

    def test_32_members_complete_one_chord(
        self, open_backend: Callable[..., Backend], backend: Backend
    ) -> None:
        """Each writes its result, checks if the group is complete, and tries to take the trigger: only one gets it."""
        backends = [open_backend() for _ in range(4)]
        meta = self.group(backend, 32)

        def end(n: int) -> bool:
            member = backends[n % 4]
            member.write([make_state(meta.TaskUUIDs[n], SUCCESS, Results=(an_int(n),))])
            return member.finished(meta) and member.trigger(meta.GroupUUID, meta.TaskUUIDs[n])

        assert sum(race(32, end)) == 1
        for each in backends:
            each.close()

    # -- processes

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.parametrize("which", ["backend", "own"])
    def test_after_a_fork(self, request: pytest.FixtureRequest, which: str, uuid: str) -> None:
        backend = request.getfixturevalue(which)
        backend.write([make_state(f"{uuid}_{n}") for n in range(60)])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                backend.write([make_state(f"{uuid}_{n}", SUCCESS) for n in range(60)])
                (state,) = backend.read([f"{uuid}_0"])
                code = 0 if state is not None and state.State == SUCCESS else 2
            finally:
                os._exit(code)
        for n in range(30):
            backend.write([make_state(f"{uuid}_{n}_parent")])
            assert backend.read([f"{uuid}_{n}_parent"]) == [make_state(f"{uuid}_{n}_parent")]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert {state and state.State for state in backend.read([f"{uuid}_{n}" for n in range(60)])} == {
            SUCCESS
        }

    def test_it_works_again_after_it_was_closed(self, backend: Backend, uuid: str) -> None:
        backend.close()
        backend.write([make_state(uuid)])
        assert backend.read([uuid]) == [make_state(uuid)]


# --- requests ------------------------------------------------------------------------------------


def test_many_states_are_few_requests(own: DynamoDBBackend, requested: Tally) -> None:
    uuids = [f"task_{uuid4()}" for _ in range(250)]
    own.write([make_state(uuid) for uuid in uuids])
    own.write([make_state(uuid, SUCCESS, Results=(an_int(1),)) for uuid in uuids])
    assert own.read(uuids)
    del requested["DescribeTable"], requested["written"]
    assert requested == {"BatchWriteItem": 10, "BatchExecuteStatement": 10, "BatchGetItem": 3}


def test_a_task_costs_two_writes_to_dynamodb(dynamodb: Tables, requested: Tally) -> None:
    """docs/reference/dynamodb.md: two writes a quick task, one read a completion of a chord's member."""
    names = {
        "task_states_table": dynamodb.config.task_states_table,
        "group_metas_table": dynamodb.config.group_metas_table,
        "client": lambda: dynamodb.client,
    }
    with App("memory://" + uuid4().hex, dynamodb.url, dynamodb=names) as app:

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        with Worker(app, concurrency=2):
            add.delay(1).get(timeout=20)
            requested.clear()
            results = app.publish_many([add.s(n) for n in range(40)])
            assert [result.get(timeout=20) for result in results] == list(range(40))
            assert requested["written"] == 80
            requested.clear()
            members = chord([add.s(n) for n in range(10)], add.s()).apply_async()
            assert members.get(timeout=20) == 45
            assert requested["written"] == 2 * 11 + 2, "the group's item and its trigger come to the tasks"


def test_waiting_asks_seldom(dynamodb: Tables, requested: Tally) -> None:
    """DynamoDB bills each read."""
    names = {"task_states_table": dynamodb.config.task_states_table, "client": lambda: dynamodb.client}
    names["group_metas_table"] = dynamodb.config.group_metas_table
    with App("memory://" + uuid4().hex, dynamodb.url, dynamodb=names) as app:
        result = app.remote("never", results="int64").delay()
        requested.clear()
        with pytest.raises(ResultTimeout):
            result.get(timeout=1)
    assert 2 <= requested["BatchGetItem"] <= 25


def test_unprocessed_items_are_asked_for_again(
    own: DynamoDBBackend, dynamodb: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    """A DynamoDB that throttles leaves a part of a batch, or all of it, unprocessed."""
    uuids = [f"task_{uuid4()}" for _ in range(60)]
    own.write([make_state(uuid) for uuid in uuids[:1]])
    turns = Tally()

    def leave(params: Any, model: Any, context: Any, **event: Any) -> None:
        turns.add(model.name)
        for table, items in params.get("RequestItems", {}).items():
            keys = items if isinstance(items, list) else items["Keys"]
            left = keys if turns[model.name] == 1 else keys[len(keys) // 2 + 1 :]
            context["left"] = {table: left if isinstance(items, list) else {"Keys": left}} if left else {}
            if isinstance(items, list):
                params["RequestItems"] = {table: keys[: len(keys) - len(left)] or keys[:1]}

    def answer(parsed: Any, model: Any, context: Any, **event: Any) -> None:
        if left := context.get("left"):
            name = "UnprocessedItems" if model.name == "BatchWriteItem" else "UnprocessedKeys"
            parsed[name] = left
            if name == "UnprocessedKeys":
                ((table, keys),) = left.items()
                gone = [key["TaskUUID"]["S"] for key in keys["Keys"]]
                parsed["Responses"][table] = [
                    item for item in parsed["Responses"][table] if item["TaskUUID"]["S"] not in gone
                ]

    for operation in ("BatchWriteItem", "BatchGetItem"):
        dynamodb.client.meta.events.register(f"provide-client-params.dynamodb.{operation}", leave)
        dynamodb.client.meta.events.register(f"after-call.dynamodb.{operation}", answer)
    with caplog.at_level(logging.WARNING, "gearmesh.dynamodb"):
        own.write([make_state(uuid) for uuid in uuids])
        assert own.read(uuids) == [make_state(uuid) for uuid in uuids]
    assert turns["BatchWriteItem"] > 6
    assert turns["BatchGetItem"] > 3
    assert len([each for each in caplog.messages if "throttles" in each]) == 1


def test_throttled_statements_are_repeated_by_themselves(own: DynamoDBBackend, dynamodb: Tables) -> None:
    uuids = [f"task_{uuid4()}" for _ in range(20)]
    own.write([make_state(uuid) for uuid in uuids])
    asked: list[int] = []

    def throttle(parsed: Any, **event: Any) -> None:
        asked.append(len(parsed["Responses"]))
        if len(asked) == 1:
            for answer in parsed["Responses"][5:]:
                answer["Error"] = {"Code": "ThrottlingError", "Message": "slowly"}

    dynamodb.client.meta.events.register("after-call.dynamodb.BatchExecuteStatement", throttle)
    own.write([make_state(uuid, SUCCESS, Results=()) for uuid in uuids])
    assert asked == [20, 15]
    assert {state and state.State for state in own.read(uuids)} == {SUCCESS}


def test_a_dynamodb_that_does_not_take_the_statements(
    own: DynamoDBBackend, dynamodb: Tables, requested: Tally
) -> None:
    """All states are written by single updates then, and no batch is tried again."""
    uuids = [f"task_{uuid4()}" for _ in range(20)]
    own.write([make_state(uuid) for uuid in uuids])

    def refuse(parsed: Any, **event: Any) -> None:
        for answer in parsed["Responses"]:
            answer["Error"] = {"Code": "ValidationError", "Message": "Statement wasn't well formed"}

    dynamodb.client.meta.events.register("after-call.dynamodb.BatchExecuteStatement", refuse)
    for state in (STARTED, SUCCESS):
        own.write([make_state(uuid, state) for uuid in uuids])
    assert (requested["BatchExecuteStatement"], requested["UpdateItem"]) == (1, 40)
    assert {state and state.State for state in own.read(uuids)} == {SUCCESS}


def test_a_dynamodb_that_throttles_for_long_is_a_connection_error(
    own: DynamoDBBackend, dynamodb: Tables, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.read(["task_x"])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answer = {
        "Error": {"Code": "ProvisionedThroughputExceededException", "Message": "slowly"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    refused = SimpleNamespace(status_code=400)
    dynamodb.client.meta.events.register(
        "before-call.dynamodb.BatchWriteItem", lambda **event: (refused, answer)
    )
    with caplog.at_level(logging.WARNING, "gearmesh.dynamodb"):
        for _ in range(3):
            with pytest.raises(own.connection_errors, match="slowly"):
                own.write([make_state("task_x")])
    assert len([each for each in caplog.messages if "throttles" in each]) == 1


# --- a DynamoDB that goes away -------------------------------------------------------------------


def test_tasks_and_chords_survive_a_restart_of_dynamodb(make_dynamodb: Callable[..., DynamoDBServer]) -> None:
    server = make_dynamodb(durable=True)
    tables = Tables.named(server)
    tables.make()
    with App("memory://" + uuid4().hex, server.endpoint, dynamodb=tables.config) as app:

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        results = app.publish_many([add.s(n) for n in range(50)])
        sums = chord([add.s(n) for n in range(20)], add.s()).apply_async()
        server.stop()
        with pytest.raises(BackendError, match="cannot be reached"):
            app.states(["task_x"])
        with Worker(app, concurrency=4):
            server.start()
            assert [result.get(timeout=60) for result in results] == list(range(50))
            assert sums.get(timeout=60) == sum(range(20))
