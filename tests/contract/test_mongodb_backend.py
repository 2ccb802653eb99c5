"""The backend contract for a MongoDB with a password, and tests of MongoDB alone."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson.json_util
import msgspec
import pymongo
import pytest
from bson import Int64
from bson.binary import Binary
from tests.shown import shown
from tests.support.servers import MongoServer
from tests.support.servers.certificates import Certificates

from gearmesh.backends.mongodb import MongoBackend
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.config import MongoDBConfig
from gearmesh.errors import BackendError, ConfigError, RemoteProtocolError, Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract
from gearmesh.testing.contracts.store import CREATED, an_int, make_state
from gearmesh.testing.waiting import eventually
from gearmesh.wire import types
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, GroupMeta, TaskResult, TaskState

Make = Callable[..., MongoServer]
Document = dict[str, Any]
Database = Any  # pymongo's, of documents

GOLDEN = {
    name: json.loads(
        (Path(__file__).parents[1] / "golden" / f"results_{name}.json").read_text(encoding="utf-8")
    )
    for name in ("mongodb", "mongodb_v2")
}
CASES = [
    pytest.param(case, id=f"{name}-{case['task']}")
    for name, recorded in GOLDEN.items()
    for case in recorded["cases"]
    if case.get("stored")
]


def value(type: str, given: Any) -> TaskResult:
    return TaskResult(Type=type, Value=types.dump(type, given))


@pytest.fixture
def database(mongodb_url: str) -> Iterator[Database]:
    """The database of the URL, as MongoDB's own driver sees it."""
    url, _, name = mongodb_url.partition("/?journal=false&database=")
    with pymongo.MongoClient[Document](url) as client:
        yield client[name]


class TestMongoBackend(BackendContract):
    digits = 3
    lacks = frozenset({"announcements"})
    large = 3_000
    unstorable = value("uint64", 2**64 - 1)

    @pytest.fixture
    def open_backend(self, mongodb_url: str) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(mongodb_url, expire=expire)

    # -- stored documents

    def test_reading_creates_nothing(self, backend: MongoBackend, database: Database, uuid: str) -> None:
        """A read of another program's states must not create an index in its database."""
        assert backend.read([uuid]) == backend.reports([uuid]) == [None]
        assert backend.read_group(uuid) is None
        assert backend.walk_states(backend.walk_states("", 10)[0], 10) == ("", [])
        assert backend.find_uuids("task_", 10) == []
        assert backend.revoked() == {}
        assert database.list_collection_names() == []

    def test_the_documents_are_go_s(self, backend: Backend, database: Database, uuid: str) -> None:
        now = time.time()
        backend.write([make_state(uuid)])
        found = database.tasks.find_one({"_id": uuid})
        assert 3599 < found.pop("delete_at").timestamp() + time.timezone - now < 3601
        created = found.pop("created_at")
        assert found == {"_id": uuid, "state": PENDING, "task_name": "add"}
        assert created.isoformat() == CREATED.replace("Z", "000")
        backend.write([make_state(uuid, SUCCESS, Results=(an_int(5),))])
        found = database.tasks.find_one({"_id": uuid}, {"delete_at": 0, "created_at": 0})
        assert found == {
            "_id": uuid,
            "state": SUCCESS,
            "task_name": "add",
            "results": [{"type": "int64", "value": 5}],
        }
        assert type(found["results"][0]["value"]) is Int64
        backend.write([make_state(uuid, FAILURE, Error="boom")])
        found = database.tasks.find_one({"_id": uuid}, {"delete_at": 0, "created_at": 0})
        assert found == {"_id": uuid, "state": FAILURE, "task_name": "add", "error": "boom"}
        meta = self.group(backend, 2)
        found = database.group_metas.find_one({"_id": meta.GroupUUID}, {"delete_at": 0, "created_at": 0})
        assert found == {
            "_id": meta.GroupUUID,
            "task_uuids": list(meta.TaskUUIDs),
            "chord_triggered": False,
            "lock": False,
        }

    @pytest.mark.parametrize(
        ("result", "stored"),
        [
            (value("int8", -3), Int64(-3)),
            (value("int", 2**63 - 1), Int64(2**63 - 1)),
            (value("uint64", 2**63 - 1), Int64(2**63 - 1)),
            (value("float64", 3.0), 3.0),
            (value("float32", 0.1), 0.10000000149011612),
            (value("string", '{"a":1}'), '{"a":1}'),
            (value("[]byte", b"hi\x00\xff"), "aGkA/w=="),
            (value("[]uint8", b""), ""),
            (value("[]uint16", [1, 255]), "Af8="),
            (value("[]uint16", [1, 256]), [Int64(1), Int64(256)]),
            (value("[]uint64", []), []),
            (value("[]int16", [1, -1]), [Int64(1), Int64(-1)]),
            (value("[]float64", [1.0, -0.0]), [1.0, -0.0]),
            (value("[]string", ["", "é"]), ["", "é"]),
            (value("bool", True), True),
            (TaskResult("[]string", msgspec.Raw(b"null")), []),
        ],
        ids=shown,
    )
    def test_values_are_stored_so_that_go_can_read_them(
        self, backend: Backend, database: Database, uuid: str, result: TaskResult, stored: Any
    ) -> None:
        backend.write([make_state(uuid, SUCCESS, Results=(result,))])
        found = database.tasks.find_one({"_id": uuid})["results"][0]["value"]
        assert (found, type(found)) == (stored, type(stored))
        if isinstance(stored, list):
            assert [type(each) for each in found] == [type(each) for each in stored]
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.Results is not None
        assert types.load(result.Type, state.Results[0].Value) == types.load(result.Type, result.Value)

    @pytest.mark.parametrize(
        "given", [value("uint64", 2**63), value("uint", 2**64 - 1), value("[]uint64", [1, 2**63])], ids=shown
    )
    def test_integers_that_bson_has_not(self, backend: Backend, uuid: str, given: TaskResult) -> None:
        backend.write([make_state(uuid), make_state(uuid, STARTED)])
        with pytest.raises(Unstorable, match="MongoDB's integers end at 9223372036854775807") as refused:
            backend.write([make_state(uuid, SUCCESS, Results=(an_int(1), given))])
        assert refused.value.uuid == uuid
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.State == STARTED

    def test_a_document_that_is_too_large(self, backend: Backend, uuid: str) -> None:
        large = TaskResult(Type="string", Value=msgspec.Raw(b'"' + b"x" * (16 << 20) + b'"'))
        other = f"{uuid}_other"
        with pytest.raises(Unstorable, match="16 MiB") as refused:
            backend.write([make_state(uuid, SUCCESS, Results=(large,)), make_state(other, SUCCESS)])
        assert refused.value.uuid == uuid
        assert [state is None for state in backend.read([uuid, other])] == [True, False]
        # Each fits the request, and their sum the document of neither.
        just = TaskResult(Type="string", Value=msgspec.Raw(b'"' + b"x" * ((16 << 20) - 200) + b'"'))
        with pytest.raises(Unstorable, match="16 MiB") as refused:
            backend.write([make_state(uuid, SUCCESS, Results=(just, just))])
        assert refused.value.uuid == uuid
        with pytest.raises(Unstorable, match="16 MiB"):
            backend.create_group(GroupMeta(GroupUUID=uuid, TaskUUIDs=("x" * 1000,) * 20_000))

    # -- documents that Go has stored, and Go's changes to gearmesh's documents

    @pytest.mark.parametrize("case", CASES)
    def test_the_backend_reads_states_that_go_wrote(
        self, backend: Backend, database: Database, case: Document
    ) -> None:
        stored = bson.json_util.loads(json.dumps(case["stored"]))
        if "delete_at" in stored:
            stored["delete_at"] += timedelta(days=36500)  # the recording has expired
        database.tasks.insert_one(stored)
        (state,) = backend.read([stored["_id"]])
        assert state is not None
        assert (state.TaskName, state.State) == (stored["task_name"], stored["state"])
        milliseconds = case["stored"]["created_at"]["$date"]["$numberLong"][-3:].rstrip("0")
        assert state.CreatedAt.rstrip("Z").endswith(f".{milliseconds}" if milliseconds else "")
        if state.State == FAILURE:
            assert state.Error == case["read_back_by_go"]["error"]
        elif state.State == STARTED:
            assert "uint64" in case["task"], "Go can't store it at all"
        else:
            expected = expected_of(case)
            assert state.Results is not None
            assert [(r.Type, types.load(r.Type, r.Value)) for r in state.Results] == expected

    def test_every_recorded_case_is_used(self) -> None:
        assert len(CASES) == 62

    def test_bytes_as_go_writes_them(self, backend: Backend, database: Database, uuid: str) -> None:
        results = [
            {"type": "[]uint8", "value": Binary(b"hi\x00\xff")},
            {"type": "[]uint8", "value": None},
            {"type": "[]uint16", "value": [1, Int64(2)]},
        ]
        database.tasks.insert_one({"_id": uuid, "state": SUCCESS, "results": results})
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.Results is not None
        read = [(r.Type, types.load(r.Type, r.Value)) for r in state.Results]
        assert read == [("[]uint8", b"hi\x00\xff"), ("[]uint8", b""), ("[]uint16", [1, 2])]
        assert (state.TaskName, state.CreatedAt, state.Error) == ("", "0001-01-01T00:00:00Z", "")

    @pytest.mark.parametrize(
        ("text", "read"),
        [
            ('{"b":[1,2.5,null],"a":{"<":true}}', '{"a":{"\\u003c":true},"b":[1,2.5,null]}'),
            ("{}", "{}"),
            ("null", "null"),
        ],
    )
    def test_text_that_go_has_parsed(
        self, backend: Backend, database: Database, uuid: str, text: str, read: str
    ) -> None:
        parsed = json.loads(text, parse_int=float)
        database.tasks.insert_one({"_id": uuid, "results": [{"type": "json", "value": parsed}]})
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.Results is not None
        assert state.Results[0].Type == "string"
        assert types.load("string", state.Results[0].Value) == read

    def test_read_gives_the_state_though_its_results_cannot_be_loaded(
        self, backend: Backend, database: Database, uuid: str
    ) -> None:
        odd = [{"type": "float64", "value": float("nan")}, {"type": "int64", "value": "x"}]
        database.tasks.insert_one({"_id": uuid, "state": SUCCESS, "results": odd})
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.State == SUCCESS
        for result in state.Results or ():
            with pytest.raises(RemoteProtocolError, match=f"is not {result.Type}"):
                types.load(result.Type, result.Value)

    def test_types_machinery_does_not_know(self, backend: Backend, database: Database, uuid: str) -> None:
        given = {"z": 1, "a": [Binary(b"x"), None, True], "o": bson.ObjectId("0" * 24)}
        database.tasks.insert_one({"_id": uuid, "results": [{"type": "main.Thing", "value": given}]})
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.Results is not None
        text = b'{"a":["eA==",null,true],"o":"000000000000000000000000","z":1}'
        assert state.Results[0] == TaskResult("main.Thing", msgspec.Raw(text))

    def test_text_of_go_s_that_is_no_utf8(self, mongodb_url: str, backend: Backend, uuid: str) -> None:
        document = bson.encode({"_id": uuid, "state": FAILURE, "error": "bad XY"}).replace(b"XY", b"\xff\xfe")
        url, _, name = mongodb_url.partition("/?journal=false&database=")
        with pymongo.MongoClient(url, document_class=bson.raw_bson.RawBSONDocument) as client:
            client[name].tasks.insert_one(bson.raw_bson.RawBSONDocument(document))
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.Error == "bad \ufffd\ufffd"

    def test_go_s_updates_keep_the_fields_that_python_wrote(
        self, backend: Backend, database: Database, uuid: str
    ) -> None:
        """Go's worker on our PENDING: v1 says nothing of delete_at, so ours stays."""
        backend.write([make_state(uuid)])
        for change in ({"state": STARTED}, {"state": SUCCESS, "results": []}):
            database.tasks.update_one({"_id": uuid}, {"$set": change}, upsert=True)
        assert backend.read([uuid]) == [
            make_state(uuid, SUCCESS, TaskName="add", CreatedAt=CREATED, Results=())
        ]
        assert "delete_at" in database.tasks.find_one({"_id": uuid})

    # -- expiry

    def test_mongodb_removes_states_that_go_left_to_expire(
        self, backend: Backend, database: Database, uuid: str
    ) -> None:
        """The index is there, and it is one that works: beside v1's two, which never remove anything."""
        for name in ("state", "lock"):
            database.tasks.create_index([(name, 1)], expireAfterSeconds=1)
        backend.write([make_state(uuid)])
        past = bson.json_util.loads('{"$date": "2020-01-01T00:00:00Z"}')
        database.tasks.insert_one({"_id": f"{uuid}_go", "state": SUCCESS, "delete_at": past})
        eventually(lambda: backend.read([f"{uuid}_go"]) == [None])
        assert backend.read([uuid]) == [make_state(uuid)]
        assert set(database.tasks.index_information()) == {"_id_", "state_1", "lock_1", "delete_at_1"}

    def test_an_index_that_go_made(self, backend: Backend, database: Database, uuid: str) -> None:
        database.tasks.create_index([("delete_at", 1)], expireAfterSeconds=0, background=True)
        backend.write([make_state(uuid)])
        assert len(database.tasks.index_information()) == 2

    def test_an_index_in_our_way_is_only_warned_of(
        self, backend: Backend, database: Database, uuid: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        database.tasks.create_index([("delete_at", 1)])
        backend.write([make_state(uuid)])
        backend.write([make_state(uuid, SUCCESS)])
        (warning,) = [record for record in caplog.records if record.name == "gearmesh.mongodb"]
        assert "has no index that removes expired documents" in warning.getMessage()
        assert backend.read([uuid])[0] is not None

    # -- the trigger

    def test_the_member_that_took_the_trigger_is_recorded(self, backend: Backend, database: Database) -> None:
        meta = self.group(backend, 1)
        assert backend.trigger(meta.GroupUUID, "task_a") is True
        assert database.group_metas.find_one({"_id": meta.GroupUUID})["triggered_by"] == "task_a"

    def test_a_group_of_go_s(self, backend: Backend, database: Database) -> None:
        (case, _) = [
            case["group_stored"]
            for found in GOLDEN.values()
            for case in found["cases"]
            if "group_stored" in case
        ]
        stored = bson.json_util.loads(json.dumps(case))
        database.group_metas.insert_one(stored)
        meta = backend.read_group(stored["_id"])
        assert meta is not None
        assert meta.TaskUUIDs == tuple(stored["task_uuids"])
        assert (meta.ChordTriggered, meta.Lock) == (True, False)
        assert backend.trigger(meta.GroupUUID, "us") is False
        database.group_metas.update_one({"_id": stored["_id"]}, {"$set": {"chord_triggered": False}})
        assert backend.trigger(meta.GroupUUID, "us") is True

    # -- processes and threads

    def test_one_document_is_made_by_many_at_once(self, mongodb_url: str, uuid: str) -> None:
        """MongoDB tells all but one that it is there already; that is no error of anybody's."""
        backends = [open_url(mongodb_url, expire=60) for _ in range(8)]
        failed: list[BaseException] = []

        def write(n: int, start: threading.Barrier, uuids: list[str]) -> None:
            start.wait(30)
            try:
                backends[n].write(
                    [make_state(each, (PENDING, STARTED, SUCCESS, RECEIVED)[n % 4]) for each in uuids]
                )
            except BaseException as exc:
                failed.append(exc)

        for turn in range(10):
            uuids = [f"{uuid}_{turn}_{n}" for n in range(20)]
            start = threading.Barrier(8)
            threads = [threading.Thread(target=write, args=(n, start, uuids)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert not failed
            assert None not in backends[0].read(uuids)
        for each in backends:
            each.close()

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_after_a_fork(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid)])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                backend.write([make_state(uuid, SUCCESS)])
                (state,) = backend.read([uuid])
                code = 0 if state is not None and state.State == SUCCESS else 2
            finally:
                os._exit(code)
        for n in range(100):
            backend.write([make_state(f"{uuid}_{n}")])
            assert backend.read([f"{uuid}_{n}"]) == [make_state(f"{uuid}_{n}")]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (state,) = backend.read([uuid])
        assert state is not None
        assert state.State == SUCCESS

    def test_it_works_again_after_it_was_closed(self, backend: Backend, uuid: str) -> None:
        backend.close()
        backend.write([make_state(uuid)])
        assert backend.read([uuid]) == [make_state(uuid)]


def expected_of(case: Document) -> list[tuple[str, Any]]:
    """Return type and Python value of each result of the recorded task, from the arguments that Go had."""
    if case["task"] == "add(1,2)":
        return [("int64", 3)]
    if case["task"] == "two":
        return [("int64", 1), ("string", '{"a":1}')]
    if case["task"] == "json_like_string":
        return [("string", '{"a":{"b":[1,2.5]}}')]
    if case["task"] == "json_array_string":
        return [("string", "[1,2]")]
    type = {"[]byte": "[]uint8"}.get(case["arg_type"], case["arg_type"])
    return [(type, types.load(type, types.dump(type, case["arg"])))]


# --- databases ------------------------------------------------------------------------------------


def test_the_database_is_go_s_unless_something_else_is_said(mongodb_server: MongoServer) -> None:
    """Go: the path of the URL names the database of the user, not the one for the states."""
    uuid = f"task_{uuid4()}"
    named = f"test_{uuid4().hex}"
    with pymongo.MongoClient[Document](mongodb_server.url) as client:
        for url, database in (
            (mongodb_server.url, "machinery"),
            (f"{mongodb_server.url}/admin", "machinery"),
            (f"{mongodb_server.url}/admin?database={named}", named),
            (f"{mongodb_server.url}/?authSource=admin&database={named}&w=1", named),
        ):
            one = open_url(url, expire=60)
            one.write([make_state(uuid)])
            assert client[database].tasks.find_one({"_id": uuid}) is not None, url
            one.purge([uuid])
            assert client[database].tasks.find_one({"_id": uuid}) is None, url
            one.close()
        client.drop_database(named)


# --- servers that go away, and do not let us in ---------------------------------------------------


def test_written_states_survive_the_death_of_mongodb(make_mongodb: Make) -> None:
    server = make_mongodb()
    one = open_url(server.url, expire=60)
    for n in range(50):
        one.write([make_state(f"task_{n}", SUCCESS)])
    server.kill()
    server.start()
    other = open_url(server.url, expire=60)
    assert None not in other.read([f"task_{n}" for n in range(50)])
    one.close()
    other.close()


def test_a_dead_server_is_told_within_seconds(make_mongodb: Make) -> None:
    server = make_mongodb()
    one = open_url(f"{server.url}/?serverSelectionTimeoutMS=500", expire=60)
    one.write([make_state("task_x")])
    server.kill()
    took = []
    for ask in (lambda: one.read(["task_x"]), lambda: one.write([make_state("task_x")])):
        began = time.monotonic()
        with pytest.raises(one.connection_errors):
            ask()
        took.append(time.monotonic() - began)
    assert min(took) < 2, took
    server.start()
    eventually(lambda: _try(one, lambda: one.write([make_state("task_x")]) or True))
    assert one.read(["task_x"]) == [make_state("task_x")]
    one.close()


def test_where_nobody_listens_it_is_told_within_seconds() -> None:
    one = open_url("mongodb://127.0.0.1:1", expire=60)
    began = time.monotonic()
    with pytest.raises(one.connection_errors):
        one.read(["task_x"])
    assert 2 < time.monotonic() - began < 20  # pymongo's own: 30 s
    one.close()


def test_revocations_are_heard_again_after_a_restart(
    make_mongodb: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_mongodb()
    url = f"{server.url}/?serverSelectionTimeoutMS=200"
    with closing(open_url(url, expire=60)) as one, closing(open_url(url, expire=60)) as other:
        assert isinstance(one, MongoBackend)
        assert isinstance(other, MongoBackend)
        told: dict[str, float] = {}
        stop = one.watch_revoked(told.update)
        other.revoke(["task_a"], 60)
        eventually(lambda: "task_a" in told)
        told.clear()
        server.stop()
        # A restart between two looks goes unnoticed, and nothing can have been missed.
        eventually(lambda: "the subscription is interrupted" in caplog.text)
        server.start()
        eventually(lambda: _try(other, lambda: other.revoke(["task_b"], 60) or True))
        eventually(lambda: "task_b" in told)
        assert set(told) == {"task_a", "task_b"}, "all come again: the backend cannot know which were missed"
        stop()


def _try(one: Backend, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except one.connection_errors:
        return None


@pytest.mark.parametrize("login", ["gear:WrongSecret77", "nobody:WrongSecret77", ""])
def test_a_wrong_login_can_be_tried_again_and_is_nowhere_shown(
    mongodb_server: MongoServer, login: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose password is wrong waits; it does not bury its tasks."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "pymongo")  # a command may have made it quiet in this process
    at = f"{login}@" if login else ""
    one = open_url(f"mongodb://{at}127.0.0.1:{mongodb_server.port}/?serverSelectionTimeoutMS=300", expire=60)
    texts = []
    for ask in (lambda: one.read(["task_x"]), lambda: one.write([make_state("task_x")])):
        with pytest.raises(one.connection_errors) as refused:
            ask()
        texts.append(str(refused.value))
    one.close()
    assert "uthentication" in texts[0]
    shown = "\n".join([*texts, *(record.getMessage() for record in caplog.records), repr(vars(one))])
    assert "WrongSecret77" not in shown
    assert any(record.name.startswith("pymongo") for record in caplog.records)


def test_a_right_login_is_nowhere_shown(mongodb_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "pymongo")  # a command may have made it quiet in this process
    one = open_url(mongodb_url, expire=60)
    one.write([make_state("task_x")])
    one.close()
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert "task_x" in shown
    assert "p@ss" not in shown
    assert "p%40ss" not in shown


def test_a_user_who_may_only_read_and_write_gets_no_index_and_works(
    make_mongodb: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_mongodb(user="admin", password="secret")
    with pymongo.MongoClient[Document](server.url) as client:
        actions = ["find", "insert", "update", "remove"]
        privileges = [{"resource": {"db": "machinery", "collection": ""}, "actions": actions}]
        client.machinery.command("createRole", "plain", privileges=privileges, roles=[])
        client.machinery.command("createUser", "worker", pwd="pw", roles=["plain"])
    one = open_url(f"mongodb://worker:pw@127.0.0.1:{server.port}/machinery", expire=60)
    one.write([make_state("task_x")])
    assert one.read(["task_x"]) == [make_state("task_x")]
    assert "not authorized" in caplog.text
    one.close()


def test_tls_as_the_url_says(make_mongodb: Make, certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "server.pem"
    both.write_bytes(certificates.server.read_bytes() + certificates.server_key.read_bytes())
    files = ["--tlsCertificateKeyFile", str(both), "--tlsCAFile", str(certificates.ca)]
    server = make_mongodb(
        args=["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates", *files]
    )
    at = f"mongodb://localhost:{server.port}/?serverSelectionTimeoutMS=1000"
    with closing(open_url(f"{at}&tls=true&tlsCAFile={certificates.ca}", expire=60)) as one:
        one.write([make_state("task_x")])
        assert one.read(["task_x"]) == [make_state("task_x")]
    for options in ("", "&tls=true"):
        with closing(open_url(at + options, expire=60)) as other, pytest.raises(other.connection_errors):
            other.read(["task_x"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mongodb://user:Secret/77@host/", "write %2F"),
        ("mongodb://user:Secret77:more@host", "cannot be read"),
        ("mongodb://user:Se?cret77=x@host", "write %3F"),
        ("mongodb://host/?nosuch=Secret77", "'nosuch' is wrong"),
        ("mongodb://host/?database=a/b", "database is 'a/b'"),
        ("mongodb://", "cannot be read"),
        ("mongodb+srv://user:Secret77@host:27017/", "one host name, without a port"),
    ],
)
def test_bad_urls(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        open_url(url, expire=60)
    if "nosuch" not in url:
        assert "cret77" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "setting", "told"),
    [
        ("mongodb://u:Secret77@host/shop", "machinery", True),
        ("mongodb://host/sh%6Fp?authSource=admin", "other", True),
        ("mongodb://u:Secret77@host/shop?database=machinery", "machinery", False),
        ("mongodb://u:Secret77@host/shop", "shop", False),
        ("mongodb://u:Secret77@host/admin", "machinery", False),
        ("mongodb://host/?w=1", "machinery", False),
    ],
)
def test_a_database_in_the_path_is_reported(
    url: str, setting: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    open_url(url, expire=60, options={"mongodb": MongoDBConfig(database=setting)}).close()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == told
    for warning in warnings:
        assert f"in the database {setting!r}" in warning
        assert "'shop', the path" in warning
        assert "Secret77" not in warning


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file that it names can't be read") as refused:
        open_url(f"mongodb://u:Secret77@host/?tls=true&tlsCAFile={tmp_path}/none.pem", expire=60)
    assert "Secret77" not in str(refused.value)


def test_a_write_that_mongodb_refuses_for_good_is_a_backend_error(
    mongodb_url: str, database: Database
) -> None:
    database.create_collection("tasks", validator={"state": {"$ne": SUCCESS}})
    one = open_url(mongodb_url, expire=60)
    one.write([make_state("task_x")])
    with pytest.raises(BackendError, match=r"task_x.*Document failed validation"):
        one.write([TaskState(TaskUUID="task_x", State=SUCCESS)])
    one.close()
