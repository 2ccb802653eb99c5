"""The transport contract for every transport of ours."""

from __future__ import annotations

import gc
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import kombu
import pytest
import redis
from tests.support.servers import RedisServer, free_port

from gearmesh.backends.registry import open_backend
from gearmesh.errors import ConfigError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Outcome, Publish, Settle, Token, Trigger
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect, OpenTap, Tap, TransportFixtures
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.memory import Broker
from gearmesh.transports.registry import open_connection
from gearmesh.urls import RedisTarget, parse
from gearmesh.wire.names import CHORD_MUTEX, QueueKeys
from gearmesh.wire.state import SUCCESS, GroupMeta, TaskState


def _connect_to(url: str) -> Connect:
    def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
        return open_connection(url, consumer=consumer, options=options)

    return connect


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid4().hex}"

    @pytest.fixture
    def connect(self, url: str) -> Iterator[Connect]:
        keeper = open_connection(url)  # a broker lives as long as one connection
        yield _connect_to(url)
        keeper.release()

    @pytest.fixture
    def enlistable(self, url: str) -> Iterator[Backend]:
        backend = open_backend(url, expire=3600)
        yield backend
        backend.close()

    def test_names_are_kept_apart(self, url: str, queue: str) -> None:
        connections = [open_connection(url), open_connection(f"{url}2"), open_connection(url.upper())]
        one, two, three = (connection.channel() for connection in connections)
        one.commit([Commit(publishes=(Publish(queue, b"x"),))])
        assert [channel.pending(queue) for channel in (one, two, three)] == [[b"x"], [], []]
        for connection in connections:
            connection.release()

    def test_a_broker_ends_with_its_last_connection(self, url: str, queue: str) -> None:
        with open_connection(url) as connection:
            connection.channel().commit([Commit(publishes=(Publish(queue, b"x"),))])
        connection.connect()
        assert connection.channel().pending(queue) == [b"x"], "closed and opened again: the same broker"
        connection.release()
        del connection
        gc.collect()  # kombu's objects refer to each other
        with open_connection(url) as another:
            assert another.channel().pending(queue) == []

    def test_a_broker_of_ones_own(self, queue: str) -> None:
        broker = Broker("mine")
        with open_connection("memory://", options={"broker": broker}) as connection:
            connection.channel().commit([Commit(publishes=(Publish(queue, b"x"),))])
            assert connection.as_uri() == "memory://mine"
        assert broker.pending(queue, 10) == [b"x"]


class TestOldFixtureName(TransportFixtures):
    @pytest.fixture
    def fusable(self) -> Backend:
        return open_backend("null", expire=60)

    @pytest.mark.filterwarnings("ignore:the fixture 'fusable'")
    def test_it_still_works(self, enlistable: Backend, fusable: Backend) -> None:
        assert enlistable is fusable


class TestRedisTransport(TransportContract):
    @pytest.fixture
    def connect(self, redis_url: str) -> Connect:
        return _connect_to(redis_url)

    @pytest.fixture
    def enlistable(self, redis_url: str) -> Iterator[Backend]:
        backend = open_backend(redis_url, expire=3600)
        yield backend
        backend.close()

    def test_a_returned_message_is_left_to_others(
        self, tap: OpenTap, redis_url: str, queue: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """First to other programs; then to the consumers that have not met it."""
        monkeypatch.setattr("gearmesh.transports.redis.housekeeping.GRACE_MS", 3_600_000)
        old, new = tap(queue), tap(queue)
        new.stop()
        old.publish(queue, b"unknown")
        for _ in range(2):  # the first time it goes to the tail at once
            old.settle(*old.take(1), how="park")
        with redis.Redis.from_url(redis_url) as client:

            def returned() -> bool:
                old.drain()
                return bool(client.exists(QueueKeys(queue).grace))

            eventually(returned)
            new.start()
            for each in (old, new, old):
                each.quiet()
            client.set(QueueKeys(queue).grace, "0", keepttl=True)
            old.quiet()
            assert new.bodies(1) == [b"unknown"]

    def test_go_holds_the_chord_mutex(
        self, tap: OpenTap, enlistable: Backend, redis_url: str, queue: str
    ) -> None:
        group = GroupMeta(GroupUUID=f"group_{uuid4()}", TaskUUIDs=("task_x",))
        enlistable.create_group(group)
        here = tap(queue)
        assert here.verbs.enlist(enlistable)
        here.publish(queue, b"member")
        (message,) = here.take(1)
        state = TaskState(TaskUUID="task_x", State=SUCCESS, Results=())
        commit = Commit(
            states=(state,),
            trigger=Trigger(group.GroupUUID, "task_x", (), (Publish(f"{queue}_callback", b"callback"),)),
            settle=Settle(message.delivery),
        )
        with redis.Redis.from_url(redis_url) as go:
            go.set(CHORD_MUTEX, "go", nx=True, px=8000)
            assert here.verbs.commit([commit]) == ["retry_all"]
            assert here.verbs.pending(f"{queue}_callback") == []
            go.delete(CHORD_MUTEX)
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.pending(f"{queue}_callback") == [b"callback"]

    def test_consumers_that_are_known_to_be_dead_are_counted_apart(self, tap: OpenTap, queue: str) -> None:
        tap(queue).drain()
        dead = tap(queue, consumer="dead")
        dead.drain()
        supervisor = tap()
        assert (supervisor.channel.count(queue).consumers, supervisor.channel.count(queue).silent) == (2, 0)
        supervisor.verbs.recover("dead", [queue], crashed=True)
        assert (supervisor.channel.count(queue).consumers, supervisor.channel.count(queue).silent) == (1, 1)
        supervisor.verbs.heartbeat("dead", [queue])
        assert supervisor.channel.count(queue).silent == 0, "the consumer was alive"

    def test_consumers_that_miss_their_heartbeats_are_counted_apart(self, tap: OpenTap, queue: str) -> None:
        mute = tap(queue, lease=1.0)
        mute.drain()
        watcher = tap(lease=1.0)

        def silent() -> int:
            watcher.verbs.reap([queue])
            return int(watcher.channel.count(queue).silent)

        assert silent() == 0
        assert eventually(silent) == 1
        assert watcher.channel.count(queue).consumers == 0
        watcher.verbs.heartbeat(mute.name, [queue])
        assert silent() == 0


class TestRedisLostReplies(TransportFixtures):
    """The server acts, and its answer never arrives."""

    @pytest.fixture
    def proxy(self, redis_server: RedisServer, make_proxy: Callable[..., Proxy]) -> Proxy:
        return make_proxy(redis_server.port)

    @pytest.fixture
    def connect(self, redis_url: str, proxy: Proxy) -> Connect:
        """Through the proxy, unless asked for a consumer called "direct"."""
        host = parse(redis_url)
        assert isinstance(host, RedisTarget)

        def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
            port = host.port if consumer == "direct" else proxy.port
            return open_connection(f"redis://127.0.0.1:{port}/{host.db}", consumer=consumer, options=options)

        return connect

    def commit(self, here: Tap, commits: list[Commit], token: Token) -> list[Outcome]:
        """Commit, and repeat the commit as a caller does if no answer arrives."""
        for _ in range(5):
            try:
                return here.verbs.commit(commits, token=token)
            except here.connection.connection_errors:
                continue
        raise AssertionError("five times in a row no answer")

    def test_a_publish_happens_once(self, tap: OpenTap, proxy: Proxy, queue: str) -> None:
        here, direct = tap(), tap(consumer="direct")
        direct.publish(f"{queue}_other", b"x")  # the server knows the script from here on
        for seq in range(3):
            proxy.lose_replies(1, b"EVALSHA")
            commit = Commit(publishes=(Publish(queue, b"%d" % seq),))
            assert self.commit(here, [commit], Token("producer", seq)) == ["done"]
        assert proxy.lost == 3
        assert direct.verbs.pending(queue) == [b"0", b"1", b"2"]

    def test_a_settle_happens_once(self, tap: OpenTap, proxy: Proxy, queue: str) -> None:
        here, direct = tap(queue, prefetch=1), tap(consumer="direct")
        direct.publish(queue, b"x")
        (message,) = here.take(1)
        proxy.lose_replies(1, b"EVALSHA")
        commit = Commit(publishes=(Publish(f"{queue}_next", b"next"),), settle=Settle(message.delivery))
        assert self.commit(here, [commit], Token(here.name, 1)) == ["done"]
        assert proxy.lost == 1
        assert direct.verbs.pending(f"{queue}_next") == [b"next"]
        here.close()
        assert direct.verbs.pending(queue) == []

    def test_messages_of_a_fetch_whose_reply_is_lost_are_delivered(
        self, tap: OpenTap, proxy: Proxy, queue: str
    ) -> None:
        here, direct = tap(queue, prefetch=5), tap(consumer="direct")
        here.quiet(0.05)
        bodies = [b"%d" % n for n in range(5)]
        proxy.lose_replies(1, b"EVALSHA")
        direct.publish(queue, *bodies)
        deadline = time.monotonic() + 20
        while len(here.got) < 5 or not proxy.lost:
            assert time.monotonic() < deadline, f"{len(here.got)} of 5, {proxy.lost} replies lost"
            with suppress(*here.connection.connection_errors):
                here.drain()
        messages = here.take(5)
        assert sorted(message.body for message in messages) == bodies
        assert here.settle(*messages) == ["done"] * 5
        here.quiet()
        here.close()
        assert direct.verbs.pending(queue) == []


@pytest.mark.parametrize("url", ["nosuch://host", "eager", "null", "localhost:6379"])
def test_unknown_urls_in_memory(url: str) -> None:
    with pytest.raises(ConfigError, match=r"broker: "):
        open_connection(url)


def test_the_known_schemes_are_named_in_memory() -> None:
    with pytest.raises(ConfigError, match=r"'nosuch'.*redis.*memory") as caught:
        open_connection("nosuch://user:secret@host")
    assert "secret" not in str(caught.value)


def test_a_plugin_opens_its_scheme_beside_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def opens(url: str, *, consumer: str | None, options: Mapping[str, Any]) -> kombu.Connection:
        assert (url, consumer, dict(options)) == ("mine://x", "me", {"lease": 3})
        return open_connection("memory://plugin")

    point = SimpleNamespace(name="mine", load=lambda: opens)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: [point])
    connection = open_connection("mine://x", consumer="me", options={"lease": 3})
    assert connection.as_uri() == "memory://plugin"


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_failed_connection_raises_at_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """kombu's own connection would sleep for two seconds first."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: pytest.fail(f"sleeps {seconds} s"))
    connection = open_connection(f"{scheme}://127.0.0.1:{free_port()}/")
    with pytest.raises(connection.connection_errors):
        connection.channel()
