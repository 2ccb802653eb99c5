"""The contracts on a Redis cluster of six nodes, and tests of clusters alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from uuid import uuid4

import kombu
import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from tests.support.servers import RedisCluster

from gearmesh import App, chain, chord, group
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.config import Config, RedisConfig
from gearmesh.errors import ChordBusy
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Publish, Settle, Token
from gearmesh.redis_client.cluster import slot_of
from gearmesh.redis_client.cluster_commits import ClusterCommitScript
from gearmesh.redis_client.plain_commits import PlainCommits
from gearmesh.testing.contracts import BackendContract, TransportContract
from gearmesh.testing.contracts.support import Connect, OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import CHORD_MUTEX, outbox, slot_tag
from gearmesh.worker import Worker


def _connect_to(url: str) -> Connect:
    def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
        return open_connection(url, consumer=consumer, options=options)

    return connect


class TestClusterTransport(TransportContract):
    @pytest.fixture
    def connect(self, cluster_url: str) -> Connect:
        return _connect_to(cluster_url)


class TestClusterBackend(BackendContract):
    @pytest.fixture
    def open_backend(self, cluster_url: str) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(cluster_url, expire=expire)

    def test_go_holds_the_chord_mutex(self, backend: Backend, redis_cluster: RedisCluster) -> None:
        meta = self.group(backend, 1)
        with redis_cluster.client(redis_cluster.node_of(CHORD_MUTEX)) as go:
            go.set(CHORD_MUTEX, "go", nx=True, px=8000)
            for _ in range(3):
                with pytest.raises(ChordBusy):
                    backend.trigger(meta.GroupUUID, "us")
            assert backend.read_group(meta.GroupUUID) == meta
            assert go.get(CHORD_MUTEX) == b"go", "Go's is not ours to release"
            go.delete(CHORD_MUTEX)
            assert backend.trigger(meta.GroupUUID, "us") is True
            assert go.exists(CHORD_MUTEX) == 0


class InCluster(TransportFixtures):
    @pytest.fixture
    def connect(self, cluster_url: str) -> Connect:
        return _connect_to(cluster_url)

    @pytest.fixture
    def elsewhere(self, queue: str) -> str:
        """A queue in another slot."""
        name = f"{queue}_elsewhere"
        assert slot_of(name) != slot_of(queue)
        return name

    @pytest.fixture
    def client(self, redis_cluster: RedisCluster, cluster_url: str) -> Iterator[redis.RedisCluster]:
        """redis-py's own."""
        with redis.RedisCluster("127.0.0.1", redis_cluster.nodes[0].port) as client:
            yield client


class Broken(RedisConnectionError):
    """The answers that a test lets happen."""


@pytest.fixture
def break_forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next forwarding from an outbox fail: "before" anything is sent, or "after" all is, not struck off."""

    def breaks(when: str) -> None:
        whole = ClusterCommitScript._forward

        def once(self: ClusterCommitScript, client: Any, *args: Any) -> None:
            monkeypatch.setattr(ClusterCommitScript, "_forward", whole)
            if when == "after":
                with monkeypatch.context() as patch:
                    patch.setattr(client, "hdel", lambda *ignored: None)
                    whole(self, client, *args)
            raise Broken(when)

        monkeypatch.setattr(ClusterCommitScript, "_forward", once)

    return breaks


class TestOutbox(InCluster):
    """The rest of a Commit, when its queue is settled and its worker dies."""

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_another_worker_finishes_it(
        self,
        tap: OpenTap,
        queue: str,
        elsewhere: str,
        client: redis.RedisCluster,
        break_forward: Callable[[str], None],
        when: str,
    ) -> None:
        here = tap(queue)
        here.publish(queue, b"x", b"y")
        commits = [
            Commit(publishes=(Publish(elsewhere, b"after " + message.body),), settle=Settle(message.delivery))
            for message in here.take(2)
        ]
        break_forward(when)
        with pytest.raises(Broken):
            here.verbs.commit(commits)
        assert client.hlen(outbox(queue)) == 1
        assert here.verbs.commit(commits) == ["lost", "lost"], "settled the first time"
        assert here.verbs.pending(elsewhere) == [b"after x", b"after y"]
        assert client.hlen(outbox(queue)) == 0

    def test_any_reader_of_the_queue_looks_into_the_outbox(
        self,
        tap: OpenTap,
        queue: str,
        elsewhere: str,
        client: redis.RedisCluster,
        break_forward: Callable[[str], None],
    ) -> None:
        here = tap(queue)
        here.publish(queue, b"x")
        (message,) = here.take(1)
        break_forward("before")
        with pytest.raises(Broken):
            here.verbs.commit(
                [Commit(publishes=(Publish(elsewhere, b"next"),), settle=Settle(message.delivery))]
            )
        tap(queue).drain(0.2)
        assert here.verbs.pending(elsewhere) == [b"next"]
        assert client.exists(outbox(queue)) == 0

    def test_several_at_once_send_it_once(
        self,
        connect: Connect,
        tap: OpenTap,
        queue: str,
        elsewhere: str,
        break_forward: Callable[[str], None],
    ) -> None:
        here = tap(queue)
        here.publish(queue, *(b"%d" % n for n in range(300)))
        commits = [
            Commit(publishes=(Publish(elsewhere, message.body),), settle=Settle(message.delivery))
            for message in here.take(300)
        ]
        break_forward("before")
        with pytest.raises(Broken):
            here.verbs.commit(commits)
        start = threading.Barrier(4)

        def finish() -> None:
            with connect() as connection:
                channel: Any = connection.channel()
                start.wait(30)
                channel._script.finish(channel.redis, queue)

        threads = [threading.Thread(target=finish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # The first script call settled, and wrote down, 256; the rest is held.
        sent = here.verbs.pending(elsewhere)
        assert sent == [b"%d" % n for n in range(256)]
        assert here.verbs.commit(commits)[256:] == ["done"] * 44
        assert here.verbs.pending(elsewhere) == [b"%d" % n for n in range(300)]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_due_messages(
        self,
        tap: OpenTap,
        queue: str,
        client: redis.RedisCluster,
        break_forward: Callable[[str], None],
        when: str,
    ) -> None:
        here = tap()
        break_forward(when)
        client.zadd("delayed_tasks", {signature(queue): 1})
        mover = tap(queue)
        with pytest.raises(Broken):
            mover.drain()
        assert client.exists("delayed_tasks") == 0
        assert client.hlen(outbox("delayed_tasks")) == 1
        other = tap(queue)
        assert other.bodies(1) == [signature(queue)]
        other.quiet()
        assert here.verbs.pending(queue) == []
        assert client.exists(outbox("delayed_tasks")) == 0

    def test_a_queue_that_is_none(
        self, tap: OpenTap, queue: str, elsewhere: str, client: redis.RedisCluster
    ) -> None:
        client.set(elsewhere, "no list")
        here = tap(queue)
        here.publish(queue, b"x")
        (message,) = here.take(1)
        commit = Commit(
            publishes=(Publish(elsewhere, b"bad"), Publish(f"{queue}_fine", b"good")),
            settle=Settle(message.delivery),
        )
        assert here.verbs.commit([commit]) == ["done"]
        (letter,) = here.verbs.dead_letters(elsewhere)
        assert letter.body == b"bad"
        assert "WRONGTYPE" in letter.reason
        assert here.verbs.pending(f"{queue}_fine") == [b"good"]
        assert client.exists(outbox(queue)) == 0

    def test_one_slot_needs_none(self, tap: OpenTap, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ClusterCommitScript, "_forward", None)
        first, second = (f"{{{uuid4().hex}}}.{name}" for name in ("first", "second"))
        second = first.replace("first", "second")
        here = tap(first)
        here.publish(first, b"x")
        (message,) = here.take(1)
        commit = Commit(publishes=(Publish(second, b"next"),), settle=Settle(message.delivery))
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.pending(second) == [b"next"]


class TestTokens(InCluster):
    def test_a_batch_to_several_slots_is_repeated_as_one(
        self, tap: OpenTap, queue: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first slot has it, the second does not, and then it is repeated over a new connection."""
        queues = [queue, elsewhere, f"{queue}_third"]
        eta = time.time_ns() + 10**12
        commits = [Commit(publishes=(Publish(name, b"%d" % n),)) for n in range(5) for name in queues]
        commits.append(Commit(publishes=(Publish(queue, signature(queue), eta),)))
        whole = PlainCommits.publish
        calls = 0

        def breaks(self: PlainCommits, *args: Any, **how: Any) -> bool:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise Broken
            return whole(self, *args, **how)

        monkeypatch.setattr(PlainCommits, "publish", breaks)
        token = Token(uuid4().hex, 1)
        with pytest.raises(Broken):
            tap().verbs.commit(commits, token=token)
        here = tap()
        for _ in range(2):
            assert here.verbs.commit(commits, token=token) == ["done"] * 16
        for name in queues:
            assert here.verbs.pending(name) == [b"%d" % n for n in range(5)]
        assert [each.body for each in here.verbs.delayed()] == [signature(queue)]


def move_slot(cluster: RedisCluster, key: str, *, finish: bool = True) -> Callable[[], None]:
    """Move the slot of ``key`` to another master, with its keys; return a function that does the second half."""
    slot = slot_of(key)
    source = cluster.node_of(key)
    other = next(
        cluster.node_of(name) for name in map(str, range(100)) if cluster.node_of(name) is not source
    )
    clients = [cluster.client(node) for node in cluster.nodes]
    source_client, target_client = cluster.client(source), cluster.client(other)
    source_id, target_id = (
        client.execute_command("CLUSTER MYID").decode() for client in (source_client, target_client)
    )
    target_client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
    source_client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)

    def rest() -> None:
        for name in source_client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
            source_client.execute_command("MIGRATE", "127.0.0.1", other.port, name, 0, 5000)
        for client in (target_client, source_client, *clients):
            with suppress(redis.ResponseError):  # replicas refuse the command, and learn it from a master
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        for client in (target_client, source_client, *clients):
            client.close()
        eventually(lambda: cluster.node_of(key) is other)

    if finish:
        rest()
    return rest


class TestMovingSlots(InCluster):
    def test_a_consumer_follows_its_queue(
        self, tap: OpenTap, queue: str, redis_cluster: RedisCluster
    ) -> None:
        here, other = tap(queue), tap()
        here.publish(queue, b"before")
        messages = here.take(1)
        here.quiet(0.05)
        move_slot(redis_cluster, queue)
        other.publish(queue, b"after")
        deadline = time.monotonic() + 20
        while not here.got and time.monotonic() < deadline:
            with suppress(*here.connection.connection_errors):
                here.drain(0.5)
        messages += here.take(1)
        assert [message.body for message in messages] == [b"before", b"after"]
        assert here.settle(*messages) == ["done", "done"]
        here.close()
        assert other.verbs.pending(queue) == []

    def test_nothing_is_done_half_while_it_moves(
        self, tap: OpenTap, queue: str, elsewhere: str, redis_cluster: RedisCluster
    ) -> None:
        here = tap(queue)
        here.publish(queue, *(b"%d" % n for n in range(6)))
        messages = here.take(3)
        rest = move_slot(redis_cluster, queue, finish=False)
        commits = [
            Commit(
                publishes=(Publish(queue, b"more"), Publish(elsewhere, b"next")), settle=Settle(m.delivery)
            )
            for m in messages
        ]
        token = Token(uuid4().hex, 1)
        new = [Commit(publishes=(Publish(queue, b"new"),))]
        errors = here.connection.connection_errors
        for act in (
            lambda: here.verbs.commit(commits),
            lambda: here.verbs.commit(new, token=token),
            lambda: here.channel.fetcher.fetch(queue, 3),
            lambda: here.verbs.recover(here.name, [queue]),
        ):
            with pytest.raises(errors):
                act()
        rest()
        assert here.verbs.commit(commits) == ["done"] * 3
        assert here.verbs.commit(new, token=token) == ["done"]
        here.close()
        last = tap()
        assert sorted(last.verbs.pending(queue)) == [b"3", b"4", b"5", *[b"more"] * 3, b"new"]
        assert last.verbs.pending(elsewhere) == [b"next"] * 3


def test_an_app_in_a_cluster(cluster_url: str, redis_cluster: RedisCluster) -> None:
    """Chains through several slots, chords, groups, delays; and nothing is left behind."""
    with App(config=Config(broker=cluster_url, backend=cluster_url, delayed_poll=0.05)) as app:

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers)

        def on(queue: str, *numbers: int) -> Any:
            return add.s(*numbers).set(queue=queue)

        queues = [f"gears_{n}" for n in range(5)]
        with Worker(app, concurrency=4, queues=queues):
            through = chain(*(on(queue, n) for n, queue in enumerate(queues)))
            results = [through.apply_async() for _ in range(20)]
            assert [result.get(timeout=20) for result in results] == [10] * 20
            fired = [chord([on(queue, n) for queue in queues], on(queues[n])).apply_async() for n in range(5)]
            assert [result.get(timeout=20) for result in fired] == [5 * n for n in range(5)]
            assert group([on(queue, 1) for queue in queues]).apply_async().get(timeout=20) == [1] * 5
            late = on(queues[0], 2, 3).apply_async(countdown=0.2)
            assert late.get(timeout=20) == 5
    left = set()
    for node in redis_cluster.nodes[:3]:
        with redis_cluster.client(redis_cluster.node_of("x") if not node.running else node) as client:
            left |= {
                key.partition(b":sent:")[0] for key in client.keys("gearmesh:*") if b":taker:" not in key
            }
    assert all(key.startswith(b"gearmesh:{") and key.endswith(b"}") for key in left), left


def test_broadcast_in_a_cluster(cluster_url: str) -> None:
    """A message to a fanout exchange reaches its consumers on each node."""
    exchange = kombu.Exchange("news", "fanout")
    with ExitStack() as stack:
        connections = [stack.enter_context(open_connection(cluster_url)) for _ in range(3)]
        got: list[list[Any]] = [[] for _ in connections]
        for n, connection in enumerate(connections):
            queue = kombu.Queue(f"listener_{n}", exchange, auto_delete=True)
            consumer = kombu.Consumer(connection.channel(), queue, no_ack=True)
            consumer.register_callback(lambda body, message, n=n: got[n].append(body))
            consumer.consume()
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.1)
        sender = stack.enter_context(open_connection(cluster_url))
        producer = kombu.Producer(sender.channel(), exchange)
        producer.publish({"news": 1})
        for n, connection in enumerate(connections):
            deadline = time.monotonic() + 20
            while not got[n] and time.monotonic() < deadline:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)
        assert got == [[{"news": 1}]] * 3


def test_replicas_in_a_cluster(make_cluster: Callable[..., RedisCluster]) -> None:
    """Without replicas, a write that waits for one never counts as done."""
    cluster = make_cluster(replicas=0)
    options = {"redis": RedisConfig(replicas_ack=1, replicas_ack_timeout=0.05)}
    with open_connection(cluster.url, options=options) as connection:
        channel: Any = connection.channel()
        with pytest.raises(connection.connection_errors, match="0 of 1 replicas"):
            channel.commit([Commit(publishes=(Publish("q", b"x"),))])
    backend = open_url(cluster.url, expire=60, options=options)
    with pytest.raises(backend.connection_errors, match="0 of 1 replicas"):
        BackendContract().group(backend, 1)
    backend.close()


def test_names_that_share_a_tag() -> None:
    assert slot_of(outbox("a{b}c")) == slot_of("a{b}c") == slot_of("b")
    assert slot_tag("a{b}c") == "b"
