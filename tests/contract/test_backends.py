"""The backend contract for every backend of ours."""

from __future__ import annotations

import gc
import importlib.metadata
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis

from gearmesh.backends import expiring_dict
from gearmesh.backends.memory import MemoryBackend
from gearmesh.backends.null import NullBackend
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.errors import BackendError, ChordBusy, ConfigError
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract
from gearmesh.wire.names import CHORD_MUTEX
from gearmesh.wire.state import PENDING, SUCCESS, GroupMeta, TaskState


class TestMemoryBackend(BackendContract):
    @pytest.fixture
    def open_backend(self) -> Iterator[Callable[..., Backend]]:
        url = f"memory://{uuid4().hex}"
        keeper = open_url(url, expire=3600)  # a store lives as long as one backend
        yield lambda *, expire=3600: open_url(url, expire=expire)
        keeper.close()

    def test_names_are_kept_apart(self) -> None:
        one, two = MemoryBackend(uuid4().hex), MemoryBackend(uuid4().hex)
        one.write([TaskState(TaskUUID="task_x", State=SUCCESS)])
        assert two.read(["task_x"]) == [None]

    def test_states_end_with_the_last_backend(self) -> None:
        name = uuid4().hex
        backend = MemoryBackend(name)
        backend.write([TaskState(TaskUUID="task_x", State=SUCCESS)])
        backend.close()
        del backend
        gc.collect()
        assert MemoryBackend(name).read(["task_x"]) == [None]

    def test_the_memory_backend_drops_expired_states(
        self, open_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = open_backend(expire=1)
        assert isinstance(backend, MemoryBackend)
        backend.write([TaskState(TaskUUID=f"task_{n}", State=PENDING) for n in range(1000)])
        later = time.monotonic() + 2
        monkeypatch.setattr(expiring_dict, "time", SimpleNamespace(monotonic=lambda: later))
        backend.write([TaskState(TaskUUID="task_new", State=PENDING)])
        assert list(backend._store.states._entries) == ["task_new"]


class TestRedisBackend(BackendContract):
    @pytest.fixture
    def open_backend(self, redis_url: str) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(redis_url, expire=expire)

    def test_go_holds_the_chord_mutex(self, backend: Backend, redis_url: str) -> None:
        meta = self.group(backend, 1)
        with redis.Redis.from_url(redis_url) as go:
            go.set(CHORD_MUTEX, "go", nx=True, px=8000)
            for _ in range(3):
                with pytest.raises(ChordBusy):
                    backend.trigger(meta.GroupUUID, "us")
            assert backend.read_group(meta.GroupUUID) == meta
            go.delete(CHORD_MUTEX)
        assert backend.trigger(meta.GroupUUID, "us") is True

    def test_a_mutex_go_forgot_expires(self, backend: Backend, redis_url: str) -> None:
        meta = self.group(backend, 1)
        with redis.Redis.from_url(redis_url) as go:
            go.set(CHORD_MUTEX, "go", nx=True, px=200)
        assert self.trigger(backend, meta.GroupUUID, "us") is True

    def test_finished_reads_little(self, backend: Backend, redis_url: str) -> None:
        """Redis counts the reads: 100 asks of a group of 10,000 read a few hundred keys, not a million."""
        meta = self.group(backend, 10_000)
        backend.write([TaskState(TaskUUID=uuid, State=SUCCESS) for uuid in meta.TaskUUIDs[:5_000]])
        assert backend.finished(meta) is False
        with redis.Redis.from_url(redis_url) as client:

            def lookups() -> int:
                stats = client.info("stats")
                return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])

            before = lookups()
            for _ in range(100):
                assert backend.finished(meta) is False
            assert lookups() - before < 5_000


class TestNullBackendNextToMemory:
    @pytest.mark.parametrize("url", ["null", "null://"])
    def test_keeps_nothing(self, url: str) -> None:
        backend = open_url(url, expire=60)
        assert isinstance(backend, NullBackend)
        assert (backend.keeps, backend.expire, backend.connection_errors) == (False, 60, ())
        meta = GroupMeta(GroupUUID="group_x", TaskUUIDs=("task_x",))
        backend.write([TaskState(TaskUUID="task_x", State=SUCCESS)])
        backend.create_group(meta)
        backend.touch(["task_x"])
        backend.purge(["task_x"])
        assert backend.read(["task_x", "task_y"]) == [None, None]
        assert backend.read_group("group_x") is None
        assert backend.finished(meta) is False
        assert backend.watch(lambda succeeded, failed, states: None) is None
        with pytest.raises(BackendError, match="group_x"):
            backend.trigger("group_x", "us")
        backend.close()
        backend.close()


@pytest.mark.parametrize("url", ["nosuch://host", "eager", "memory"])
def test_urls_next_to_memory(url: str) -> None:
    if url == "memory":
        assert isinstance(open_url(url, expire=1), MemoryBackend)
        return
    with pytest.raises(ConfigError, match="backend"):
        open_url(url, expire=1)


def test_expire_must_be_positive_in_memory() -> None:
    with pytest.raises(ConfigError, match="expire is 0"):
        open_url("memory://x", expire=0)


def test_a_plugin_opens_its_scheme_beside_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def opens(url: str, *, expire: int) -> Backend:
        assert (url, expire) == ("mine://x", 5)
        return NullBackend(expire=expire)

    point = SimpleNamespace(name="mine", load=lambda: opens)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: [point])
    assert isinstance(open_url("mine://x", expire=5), NullBackend)
