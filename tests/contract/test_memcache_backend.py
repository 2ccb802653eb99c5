"""The backend contract for Memcache, on three servers, and tests of Memcache alone."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from pymemcache.client.base import Client
from tests.support.servers import MemcachedServer

from gearmesh.backends.memcache import MemcacheBackend
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.errors import BackendError, ChordBusy, Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract
from gearmesh.testing.contracts.store import an_int, make_state, race
from gearmesh.testing.waiting import eventually
from gearmesh.wire import types
from gearmesh.wire.codec import encode_group, encode_state
from gearmesh.wire.names import failure_record
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, GroupMeta, TaskResult

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "results_memcache.json").read_text(encoding="utf-8")
)


class Raw:
    """Every server of a URL, by itself."""

    def __init__(self, url: str) -> None:
        self.ports = [int(address.rpartition(":")[2]) for address in url.partition("://")[2].split(",")]

    def on(self, index: int, key: str) -> bytes | None:
        with closing(Client(("127.0.0.1", self.ports[index]))) as client:
            found: bytes | None = client.get(key)
            return found

    def home(self, key: str) -> int:
        """Go: crc32.ChecksumIEEE of the key, modulo the number of servers."""
        return zlib.crc32(key.encode()) % len(self.ports)

    def get(self, key: str) -> bytes | None:
        return self.on(self.home(key), key)

    def set(self, key: str, value: bytes) -> None:
        with closing(Client(("127.0.0.1", self.ports[self.home(key)]))) as client:
            client.set(key, value, noreply=False)


@pytest.fixture
def raw(memcache_url: str) -> Raw:
    return Raw(memcache_url)


class TestMemcacheBackend(BackendContract):
    merges = False
    lacks = frozenset({"announcements", "revocations", "searching"})
    largest = 1_000_000
    short_expire = 3  # memcached counts whole seconds, and its clock may be a second ahead
    unstorable = TaskResult(Type="string", Value=msgspec.Raw(b'"' + b"x" * (1 << 20) + b'"'))

    @pytest.fixture
    def open_backend(self, memcache_url: str) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(memcache_url, expire=expire)

    def test_every_key_is_on_the_server_where_go_looks(self, backend: Backend, raw: Raw) -> None:
        uuids = [f"task_{uuid4()}" for _ in range(60)]
        backend.write([make_state(uuid) for uuid in uuids])
        for uuid in uuids:
            found = [raw.on(index, uuid) is not None for index in range(3)]
            assert found == [index == raw.home(uuid) for index in range(3)]
        assert {raw.home(uuid) for uuid in uuids} == {0, 1, 2}

    def test_the_backend_stores_the_same_bytes_as_go(self, backend: Backend, raw: Raw, uuid: str) -> None:
        backend.write([make_state(uuid)])
        assert raw.get(uuid) == encode_state(make_state(uuid))
        backend.write([make_state(uuid, STARTED)])
        assert raw.get(uuid) == encode_state(make_state(uuid, STARTED))
        done = make_state(uuid, SUCCESS, Results=(an_int(1),))
        backend.write([done])
        assert (
            raw.get(uuid)
            == (
                f'{{"TaskUUID":"{uuid}","TaskName":"","State":"SUCCESS","Results":[{{"Type":"int64","Value":1}}],'
                '"Error":"","CreatedAt":"0001-01-01T00:00:00Z","TTL":0}'
            ).encode()
        )
        meta = self.group(backend, 2)
        assert raw.get(meta.GroupUUID) == encode_group(meta)

    def test_an_early_state_does_not_race_a_final_one(self, memcache_url: str) -> None:
        """A late worker writes STARTED while another writes SUCCESS: SUCCESS stays in either order."""
        early, late = open_url(memcache_url, expire=60), open_url(memcache_url, expire=60)
        for _ in range(30):
            uuids = [f"task_{uuid4()}" for _ in range(20)]
            late.write([make_state(uuid) for uuid in uuids])

            def write(n: int, uuids: list[str] = uuids) -> None:
                backend, state = ((early, STARTED), (late, SUCCESS))[n]
                backend.write([make_state(uuid, state) for uuid in uuids])

            race(2, write)
            assert {state and state.State for state in early.read(uuids)} == {SUCCESS}
        early.close()
        late.close()

    @pytest.mark.parametrize("uuid", ["", "a b", "a\nb", "x" * 251, "é" * 126, "a\x7fb"])
    def test_keys_it_does_not_take_are_refused(self, backend: Backend, uuid: str) -> None:
        for refused in (
            lambda: backend.write([make_state(uuid)]),
            lambda: backend.create_group(GroupMeta(GroupUUID=uuid)),
            lambda: backend.read([uuid]),
            lambda: backend.read_group(uuid),
        ):
            with pytest.raises(Unstorable, match="memcached takes 1 to 250 bytes without spaces") as why:
                refused()
            assert why.value.uuid == uuid

    @pytest.mark.parametrize("uuid", ["x" * 250, "é" * 125, "ü!\"'<&>"])
    def test_keys_it_takes(self, backend: Backend, uuid: str) -> None:
        backend.write([make_state(uuid)])
        assert backend.read([uuid]) == [make_state(uuid)]
        assert isinstance(backend, MemcacheBackend)
        backend.report({uuid: b"report"})
        assert backend.reports([uuid]) == [b"report"]
        backend.purge([uuid])
        assert (backend.read([uuid]), backend.reports([uuid])) == ([None], [None])

    @pytest.mark.parametrize("method", ["write", "write_unless_success"])
    def test_a_refused_state_keeps_no_other_from_being_stored(self, backend: Backend, method: str) -> None:
        uuids = [f"task_{uuid4()}" for _ in range(30)]
        assert self.unstorable is not None
        states = [make_state(uuid, SUCCESS, Results=(an_int(1),)) for uuid in uuids]
        states[15] = make_state(uuids[15], SUCCESS, Results=(self.unstorable,))
        with pytest.raises(Unstorable, match="more than memcached takes"):
            getattr(backend, method)(states)
        assert [n for n, state in enumerate(backend.read(uuids)) if state is None] == [15]

    def test_go_holds_the_lock(self, backend: Backend, raw: Raw) -> None:
        meta = self.group(backend, 1)
        raw.set(meta.GroupUUID, encode_group(msgspec.structs.replace(meta, Lock=True)))
        for _ in range(3):
            with pytest.raises(ChordBusy):
                backend.trigger(meta.GroupUUID, "us")
        raw.set(meta.GroupUUID, encode_group(meta))
        assert backend.trigger(meta.GroupUUID, "us") is True

    def test_a_lock_go_forgot_counts_for_a_while(
        self, backend: Backend, raw: Raw, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gearmesh.backends.memcache.backend.GROUP_LOCK_TIMEOUT_S", 0.3)
        meta = self.group(backend, 1)
        raw.set(meta.GroupUUID, encode_group(msgspec.structs.replace(meta, Lock=True)))
        began = time.monotonic()
        assert self.trigger(backend, meta.GroupUUID, "us") is True
        assert time.monotonic() - began >= 0.3
        assert backend.read_group(meta.GroupUUID) == msgspec.structs.replace(meta, ChordTriggered=True)

    def test_go_triggered_while_it_has_the_lock(self, backend: Backend, raw: Raw) -> None:
        meta = self.group(backend, 1)
        raw.set(meta.GroupUUID, encode_group(msgspec.structs.replace(meta, ChordTriggered=True, Lock=True)))
        assert backend.trigger(meta.GroupUUID, "us") is False
        assert backend.trigger(meta.GroupUUID, "") is False

    def test_something_else_under_the_key(self, backend: Backend, raw: Raw, uuid: str) -> None:
        raw.set(uuid, b"[]")
        with pytest.raises(BackendError, match=f"{uuid}.*no TaskState"):
            backend.read([uuid])
        with pytest.raises(BackendError, match=f"{uuid}.*no GroupMeta"):
            backend.read_group(uuid)

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
        # The parent uses its connection at the same time: answers must not be mixed up.
        for n in range(200):
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


# --- servers that go away -------------------------------------------------------------------------


def test_a_dead_server_is_a_connection_error_and_then_forgotten(
    make_memcached: Callable[..., MemcachedServer],
) -> None:
    servers = [make_memcached() for _ in range(3)]
    url = f"memcache://{','.join(server.address for server in servers)}"
    one = open_url(url, expire=60)
    uuids = [f"task_{uuid4()}" for _ in range(30)]
    one.write([make_state(uuid) for uuid in uuids])
    servers[1].kill()
    began = time.monotonic()
    with pytest.raises(one.connection_errors):
        one.write([make_state(uuid, SUCCESS) for uuid in uuids])
    with pytest.raises(one.connection_errors):
        one.read(uuids)
    assert time.monotonic() - began < 20
    here = [uuid for uuid in uuids if zlib.crc32(uuid.encode()) % 3 != 1]
    assert None not in one.read(here), "keys on the other servers are still read"
    servers[1].start()
    one.write([make_state(uuid, SUCCESS) for uuid in uuids])
    assert [state and state.State for state in one.read(uuids)] == [SUCCESS] * 30
    one.close()


def test_a_failure_is_stored_after_its_record(make_memcached: Callable[..., MemcachedServer]) -> None:
    """The record belongs on a dead server, and FAILURE on the one that is written to first."""
    servers = [make_memcached() for _ in range(3)]
    backend = open_url(f"memcache://{','.join(server.address for server in servers)}", expire=60)

    def place(key: str) -> int:
        return zlib.crc32(key.encode()) % 3

    uuids = (f"task_{uuid4()}" for _ in range(1000))
    failed = next(uuid for uuid in uuids if place(uuid) == 0 and place(failure_record(uuid)) == 1)
    other = next(uuid for uuid in uuids if place(uuid) == 0)
    states = [
        make_state(other, SUCCESS),
        make_state(failure_record(failed), FAILURE),
        make_state(failed, FAILURE),
    ]
    servers[1].kill()
    with pytest.raises(backend.connection_errors):
        backend.write(states)
    assert backend.read([failed]) == [None]
    servers[1].start()
    backend.write(states)
    assert backend.read([state.TaskUUID for state in states]) == states
    backend.close()


def test_a_restart_costs_no_error(make_memcached: Callable[..., MemcachedServer]) -> None:
    """The backend replaces idle connections that the server has closed."""
    server = make_memcached()
    one = open_url(server.url, expire=60)
    race(8, lambda _: one.write([make_state("task_x")]))
    server.kill()
    server.start()
    assert one.read(["task_x"]) == [None]
    one.write([make_state("task_x")])
    server.kill()
    server.start()
    assert isinstance(one, MemcacheBackend)
    assert one.claim("key", "me", 60) == "me"
    one.close()


def test_a_server_that_hangs_is_told_within_seconds(
    make_memcached: Callable[..., MemcachedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearmesh.backends.memcache.servers.ANSWER_TIMEOUT_S", 0.3)
    server = make_memcached()
    one = open_url(server.url, expire=60)
    server.pause()
    began = time.monotonic()
    with pytest.raises(one.connection_errors):
        one.write([make_state("task_x")])
    assert time.monotonic() - began < 20
    server.resume()
    eventually(lambda: one.read(["task_x"]) is not None)
    one.close()


def test_no_memory_left_is_waited_for(make_memcached: Callable[..., MemcachedServer]) -> None:
    """``-M``: memcached refuses rather than forgets. That may end, so it is no failure of the task."""
    server = make_memcached(memory=8, args=["-M"])
    one = open_url(server.url, expire=60)
    value = TaskResult(Type="string", Value=msgspec.Raw(b'"' + b"x" * 500_000 + b'"'))

    def fill() -> None:
        for n in range(100):
            one.write([make_state(f"task_{n}", SUCCESS, Results=(value,))])

    with pytest.raises(one.connection_errors, match="out of memory"):
        fill()
    one.close()


def test_a_unix_socket(make_memcached: Callable[..., MemcachedServer]) -> None:
    server = make_memcached(unixsocket=True)
    one = open_url(server.url, expire=60)
    one.write([make_state("task_x")])
    assert one.read(["task_x"]) == [make_state("task_x")]
    one.close()


# --- values that Go wrote -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [one for one in GOLDEN["cases"] if "task" in one], ids=lambda case: case["task"]
)
def test_the_backend_reads_and_rewrites_states_that_go_wrote(
    case: dict[str, object], memcache_url: str, raw: Raw
) -> None:
    stored, answer = case["stored"], case["read_back_by_go"]
    assert isinstance(stored, dict)
    assert isinstance(answer, dict)
    body = stored["raw"].encode()
    uuid = json.loads(body)["TaskUUID"]
    raw.set(uuid, body)
    one = open_url(memcache_url, expire=60)
    (state,) = one.read([uuid])
    assert state is not None
    assert encode_state(state) == body
    if answer["ok"]:
        values = [types.load(result.Type, result.Value) for result in state.Results or ()]
        assert [result.Type for result in state.Results or ()] == answer["types"]
        assert [json.loads(bytes(result.Value)) for result in state.Results or ()] == answer["values"]
        assert len(values) == len(answer["values"])
    else:
        assert (state.State, state.Error) == (FAILURE, answer["error"])
    one.purge([uuid])
    one.write([state])
    assert raw.get(uuid) == body
    one.close()


def test_the_group_that_go_wrote_is_read(memcache_url: str, raw: Raw) -> None:
    (body,) = [case["group_stored"]["raw"] for case in GOLDEN["cases"] if "group_stored" in case]
    uuid = json.loads(body)["GroupUUID"]
    raw.set(uuid, body.encode())
    one = open_url(memcache_url, expire=60)
    meta = one.read_group(uuid)
    assert meta is not None
    assert encode_group(meta) == body.encode()
    assert one.trigger(uuid, "us") is False
    one.close()
