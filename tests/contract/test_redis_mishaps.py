"""Faults around the Redis transport: keys of other types, full or old servers, waits cut off, lost names."""

from __future__ import annotations

import logging
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import kombu
import pytest
import redis
from click.testing import CliRunner
from redis.exceptions import ResponseError
from tests.support.servers import RedisServer

from gearmesh import App, chord
from gearmesh.backends.registry import open_backend
from gearmesh.cli import main
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import BackendError, ConfigError, LockError, PublishError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit, Publish, Settle, Token, Trigger
from gearmesh.locks.registry import open_lock
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.scoreboard import Scoreboard
from gearmesh.testing.contracts.support import Connect, Tap, TransportFixtures, signature
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.redis.reaper import Reaper
from gearmesh.transports.redis.transport import Transport
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries
from gearmesh.transports.registry import connect, open_connection
from gearmesh.wire.codec import decode
from gearmesh.wire.names import QueueKeys, chord_progress, done_channel
from gearmesh.wire.state import FAILURE, STARTED, SUCCESS, GroupMeta, TaskState
from gearmesh.worker import Worker

OpenTap = Callable[..., Tap]


class Mishaps(TransportFixtures):
    @pytest.fixture
    def connect(self, redis_url: str) -> Connect:
        return lambda consumer=None, **options: open_connection(redis_url, consumer=consumer, options=options)

    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(redis_url) as client:
            yield client

    @pytest.fixture
    def enlistable(self, redis_url: str) -> Iterator[Backend]:
        backend = open_backend(redis_url, expire=3600)
        yield backend
        backend.close()


def done(uuid: str, state: str = SUCCESS) -> TaskState:
    return TaskState(TaskUUID=uuid, State=state, Results=())


class TestOtherTypes(Mishaps):
    """A key of the wrong type makes its own commit fail, whole, and no other."""

    @pytest.fixture
    def here(self, tap: OpenTap, enlistable: Backend, queue: str) -> Tap:
        here = tap(queue)
        assert here.verbs.enlist(enlistable)
        return here

    def three(self, here: Tap, queue: str) -> list[Any]:
        here.publish(queue, b"0", b"1", b"2")
        return here.take(3)

    @pytest.mark.parametrize("redelivered", [False, True])
    def test_a_successors_queue(
        self, here: Tap, enlistable: Backend, client: redis.Redis, queue: str, redelivered: bool
    ) -> None:
        client.set("no_list", "x")
        if redelivered:
            client.hset(here.channel.keys(queue).recovered, "x", "1")
        outcomes = here.verbs.commit(
            [
                Commit(
                    states=(done(f"task_{n}"),),
                    publishes=(Publish(f"{queue}_next", b"a"), Publish(to, b"next")),
                    settle=Settle(message.delivery),
                )
                for n, (message, to) in enumerate(
                    zip(self.three(here, queue), (f"{queue}_next", "no_list", f"{queue}_next"), strict=True)
                )
            ]
        )
        assert outcomes == ["done"] * 3
        assert client.lrange(f"{queue}_next", 0, -1) == [b"a", b"next"] * 2
        assert [state and state.State for state in enlistable.read(["task_0", "task_1", "task_2"])] == [
            SUCCESS,
            None,
            SUCCESS,
        ]
        (letter,) = here.verbs.dead_letters(queue)
        assert letter.body == b"1"
        assert "no_list is a string" in letter.reason
        assert not here.channel.unacked.open
        assert client.get("no_list") == b"x"

    @pytest.mark.parametrize("several", [False, True])
    def test_a_states_key(
        self, here: Tap, enlistable: Backend, client: redis.Redis, queue: str, several: bool
    ) -> None:
        client.rpush("task_1", "precious")
        more = (done("task_more", FAILURE),) if several else ()
        outcomes = here.verbs.commit(
            [
                Commit(
                    states=(*more, done(f"task_{n}")),
                    publishes=(Publish(f"{queue}_next", b"next"),),
                    settle=Settle(message.delivery),
                )
                for n, message in enumerate(self.three(here, queue))
            ]
        )
        assert outcomes == ["done"] * 3
        assert client.lrange("task_1", 0, -1) == [b"precious"]
        assert client.llen(f"{queue}_next") == 2
        (letter,) = here.verbs.dead_letters(queue)
        assert (letter.body, "task_1" in letter.reason) == (b"1", True)
        client.delete("task_1")
        assert [state and state.State for state in enlistable.read(["task_0", "task_1"])] == [SUCCESS, None]

    def test_a_state_on_the_way(self, here: Tap, client: redis.Redis, queue: str) -> None:
        client.rpush("task_0", "precious")
        message, *_ = self.three(here, queue)
        commit = Commit(states=(done("task_0", STARTED),), settle=Settle(message.delivery, "keep"))
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.dead_letters(queue) == []
        assert message.delivery.id in here.channel.unacked.open

    def test_a_worker_that_lost_its_lease_writes_no_dead_letter(
        self, here: Tap, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        client.set("no_list", "x")
        (message, *_) = self.three(here, queue)
        tap().verbs.recover(here.name, [queue])
        commit = Commit(publishes=(Publish("no_list", b"x"),), settle=Settle(message.delivery))
        assert here.verbs.commit([commit]) == ["lost"]
        assert here.verbs.dead_letters(queue) == []

    def test_a_producers_batch_is_refused_whole(self, here: Tap, client: redis.Redis, queue: str) -> None:
        client.set("no_list", "x")
        token = Token("producer", 1)
        commits = [Commit(publishes=(Publish(to, b"x"),)) for to in (f"{queue}_1", "no_list", f"{queue}_2")]
        with pytest.raises(ResponseError, match="no_list is a string"):
            here.verbs.commit(commits, token=token)
        assert client.exists(f"{queue}_1", f"{queue}_2") == 0
        client.delete("no_list")
        assert here.verbs.commit(commits, token=token) == ["done"] * 3
        assert client.llen("no_list") == 1

    def test_the_delayed_set(self, here: Tap, client: redis.Redis, queue: str) -> None:
        client.rpush("delayed_tasks", "x")
        with pytest.raises(ResponseError, match="delayed_tasks"):
            here.publish(queue, b"x", eta_ns=time.time_ns() + 10**12)

    def test_a_group_that_is_none(self, here: Tap, client: redis.Redis, queue: str) -> None:
        client.rpush("group_list", "precious")
        client.set("group_text", "no JSON")
        outcomes = here.verbs.commit(
            [
                Commit(
                    states=(done(f"task_{n}"),), settle=Settle(message.delivery), chord=ChordCheck(group, 1)
                )
                for n, (message, group) in enumerate(
                    zip(self.three(here, queue), ("group_list", "group_text", "group_none"), strict=True)
                )
            ]
        )
        assert outcomes == ["done"] * 3
        assert client.exists("task_0", "task_1", "task_2") == 3
        here.publish(queue, b"x")
        (message,) = here.take(1)
        trigger = Trigger("group_list", "task_x", (), (Publish(f"{queue}_callback", b"callback"),))
        assert here.verbs.commit([Commit(trigger=trigger, settle=Settle(message.delivery))]) == ["done"]
        assert client.exists(f"{queue}_callback") == 0
        assert client.lrange("group_list", 0, -1) == [b"precious"]

    def test_a_group_that_is_none_in_another_database(
        self, tap: OpenTap, redis_server: RedisServer, client: redis.Redis, queue: str
    ) -> None:
        """Broker and backend apart: the member is done all the same."""
        db = (int(client.connection_pool.connection_kwargs["db"]) + 8) % 16
        backend = open_backend(redis_server.url_of(db), expire=60)
        with redis.Redis(host="127.0.0.1", port=redis_server.port, db=db) as other:
            other.flushdb()
            other.rpush("group_list", "precious")
            other.set("group_text", "no JSON")
            here = tap(queue)
            flusher = Flusher(here.channel, backend)
            assert not flusher.atomic
            commits = [
                Commit(
                    states=(done(f"task_{n}"),), settle=Settle(message.delivery), chord=ChordCheck(group, 1)
                )
                for n, (message, group) in enumerate(
                    zip(self.three(here, queue), ("group_list", "group_text", "group_none"), strict=True)
                )
            ]
            assert flusher.flush(commits) == ["done"] * 3
            assert other.exists("task_0", "task_1", "task_2") == 3
            trigger = Trigger("group_none", "task_x", (), (Publish(f"{queue}_callback", b"callback"),))
            assert flusher.flush([Commit(trigger=trigger)]) == ["done"]
            assert client.exists(f"{queue}_callback") == 0
        backend.close()

    def test_a_member_that_is_none(
        self, here: Tap, enlistable: Backend, client: redis.Redis, queue: str
    ) -> None:
        enlistable.create_group(GroupMeta(GroupUUID="group_x", TaskUUIDs=("task_list", "task_1")))
        client.rpush("task_list", "precious")
        (message, *_) = self.three(here, queue)
        commit = Commit(
            states=(done("task_1"),), settle=Settle(message.delivery), chord=ChordCheck("group_x", 2)
        )
        assert here.verbs.commit([commit]) == ["done"]

    def test_a_trigger_that_cannot_send(
        self, here: Tap, enlistable: Backend, client: redis.Redis, queue: str
    ) -> None:
        enlistable.create_group(GroupMeta(GroupUUID="group_x", TaskUUIDs=("task_0",)))
        client.set("no_list", "x")
        (message, *_) = self.three(here, queue)
        trigger = Trigger("group_x", "task_0", (), (Publish("no_list", b"callback"),))
        assert here.verbs.commit([Commit(trigger=trigger, settle=Settle(message.delivery))]) == ["done"]
        meta = enlistable.read_group("group_x")
        assert meta is not None
        assert not meta.ChordTriggered
        assert len(here.verbs.dead_letters(queue)) == 1

    @pytest.mark.parametrize("length", range(440, 500, 3))
    def test_members_with_long_names(self, here: Tap, enlistable: Backend, queue: str, length: int) -> None:
        """The look at a member reads the beginning of its state; wherever that is cut, it must not be misread."""
        uuids = tuple(f"task_{n}".ljust(length, "x") for n in range(3))
        enlistable.create_group(GroupMeta(GroupUUID="group_x", TaskUUIDs=uuids))
        outcomes = [
            here.verbs.commit(
                [
                    Commit(
                        states=(done(uuid),),
                        settle=Settle(message.delivery),
                        chord=ChordCheck("group_x", 3),
                    )
                ]
            )[0]
            for uuid, message in zip(uuids, self.three(here, queue), strict=True)
        ]
        assert outcomes == ["done", "done", "complete"]

    def test_a_queue_that_became_something_else(self, here: Tap, client: redis.Redis, queue: str) -> None:
        messages = self.three(here, queue)
        client.set(queue, "x")
        assert here.settle(messages[0], how="head") == ["done"]
        assert here.settle(messages[1]) == ["done"]
        assert [letter.body for letter in here.verbs.dead_letters(queue)] == [b"0"]
        with pytest.raises(ResponseError):
            here.verbs.recover(here.name, [queue])
        client.delete(queue)
        assert here.verbs.recover(here.name, [queue]) == 1
        assert client.lrange(queue, 0, -1) == [b"2"]

    def test_an_arrived_message_survives_a_queue_key_of_another_type(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        here = tap()
        client.rpush(here.channel.keys(queue).arrived(here.name), b"x")
        client.set(queue, "x")
        assert [taken.body for taken in here.channel.fetcher.fetch(queue, 5)] == [b"x"]
        with pytest.raises(ResponseError):
            here.channel.fetcher.fetch(queue, 5)

    def test_nothing_is_taken_that_cannot_be_held(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        here = tap()
        held = here.channel.keys(queue).held(here.name)
        client.rpush(queue, b"1", b"2")
        client.set(held, "x")
        with pytest.raises(
            ResponseError, match=rf"the key '{re.escape(held)}' in Redis is a string, expected a hash"
        ):
            here.channel.fetcher.fetch(queue, 1)
        assert client.lrange(queue, 0, -1) == [b"1", b"2"]

    def test_due_for_a_queue_that_is_none(self, tap: OpenTap, client: redis.Redis, queue: str) -> None:
        client.set("no_list", "x")
        body = b'{"UUID":"task_x","Name":"add","RoutingKey":"no_list"}'
        client.zadd(
            "delayed_tasks",
            {body: 1, b'{"UUID":"task_y","Name":"add","RoutingKey":"%b"}' % queue.encode(): 2},
        )
        here = tap(queue, default_queue=queue)
        assert b"task_y" in here.bodies(1)[0]
        (letter,) = here.verbs.dead_letters(queue)
        assert letter.body == body
        assert "no_list" in letter.reason
        assert client.exists("delayed_tasks") == 0


class TestWaits(Mishaps):
    """A blocking wait that is given up may still bring a message, which must not fall between the chairs."""

    @pytest.mark.parametrize("ending", ["close", "cancel"])
    def test_nothing_is_lost_when_a_consumer_goes(
        self, connect: Connect, client: redis.Redis, queue: str, ending: str
    ) -> None:
        stop = threading.Event()
        sent = 0

        def publish() -> None:
            nonlocal sent
            with redis.Redis(connection_pool=client.connection_pool) as mine:
                while not stop.is_set():
                    mine.rpush(queue, b"%d" % sent)
                    sent += 1
                    time.sleep(0.0005)

        seen: list[bytes] = []

        def on_message(message: Any) -> None:
            seen.append(message.body)
            message.ack()

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(25):
                connection = connect()
                consumer = kombu.Consumer(connection.channel(), [kombu.Queue(queue)], on_message=on_message)
                consumer.consume()
                over = time.monotonic() + 0.02
                while time.monotonic() < over:
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.005)
                if ending == "cancel":
                    consumer.cancel()
                connection.release()
        finally:
            stop.set()
            thread.join()
        rest = client.lrange(queue, 0, -1)
        # On a busy machine a consumer may not have signed off in time: then a reaper would find its name and messages.
        for name in client.hkeys(QueueKeys(queue).consumers):
            rest += client.lrange(QueueKeys(queue).arrived(name.decode()), 0, -1)
            rest += client.hvals(QueueKeys(queue).held(name.decode()))
        assert sorted(map(int, seen + rest)) == list(range(sent))

    def test_a_wait_that_cannot_be_ended_keeps_its_name_on_the_list(
        self,
        make_proxy: Callable[..., Proxy],
        redis_server: RedisServer,
        redis_url: str,
        client: redis.Redis,
        queue: str,
    ) -> None:
        """Here a paused server stands for a network that swallows our goodbye."""
        unacked = RedisUnackedDeliveries()
        connection = open_connection(redis_url, options={"unacked": unacked})
        here = Tap(connection, (queue,), 0)
        here.quiet(0.05)
        assert unacked.waiting(queue)
        pop = here.channel.blocking_pops[queue]
        pop.drop()
        assert unacked.waiting(queue)
        here.close()
        with open_connection(redis_url, options={"unacked": unacked}) as again:
            channel: Any = again.channel()
            channel.recover(unacked.consumer, [queue])
            assert client.hkeys(channel.keys(queue).consumers) == [unacked.consumer.encode()]
            unacked.waits.clear()
            channel.recover(unacked.consumer, [queue])
            assert client.keys("gearmesh:*") == []

    def test_the_channel_finds_a_message_sent_over_a_dead_connection(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        """A half-open wait is given up when it is overdue; the server may have answered it long ago."""
        here = tap(queue)
        here.quiet(0.05)
        pop = here.channel.blocking_pops[queue]
        sock = pop.connection._sock
        replacement, other = socket.socketpair()
        with other:
            # The server's answer goes nowhere from here on.
            kept = sock.dup()
            here.connection.transport.cycle.forget(pop)
            pop.connection._sock = replacement
            client.rpush(queue, b"x")
            eventually(lambda: client.exists(here.channel.keys(queue).arrived(here.name)))
            pop.overdue_at = time.monotonic()
            assert here.bodies(1) == [b"x"]
            kept.close()
            sock.close()

    def test_several_messages_keep_their_order(self, tap: OpenTap, client: redis.Redis, queue: str) -> None:
        here = tap(queue)
        here.quiet(0.05)
        client.rpush(queue, *range(7))
        assert here.bodies(7) == [b"%d" % n for n in range(7)]

    def test_a_message_for_which_there_is_no_room_any_more(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        """Both waits began while there was room for one message."""
        here = tap(queue, f"{queue}_other", prefetch=1)
        here.quiet(0.05)
        with client.pipeline() as pipe:
            pipe.rpush(queue, b"1").rpush(f"{queue}_other", b"2").execute()
        (first,) = here.take(1)

        def returned() -> bool:
            here.quiet(0.01)
            return client.llen(queue) + client.llen(f"{queue}_other") == 1

        eventually(returned)
        here.settle(first)
        (second,) = here.take(1)
        assert {first.body, second.body} == {b"1", b"2"}
        assert second.delivery.redelivered == 0

    def test_a_message_of_a_wait_that_is_given_up_returns_at_once(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        here = tap(queue)
        here.quiet(0.05)
        client.rpush(queue, b"x")
        eventually(lambda: client.exists(here.channel.keys(queue).arrived(here.name)))
        here.stop()
        assert client.lrange(queue, 0, -1) == [b"x"]
        here.start()
        assert here.bodies(1) == [b"x"]


class TestTurns(Mishaps):
    """The order of queues, and of the messages that a caller of ``drain_events`` counts."""

    def test_large_messages_do_not_end_a_queue_s_turn(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        large = b"x" * 1_100_000
        client.rpush(queue, *[large] * 4)
        client.rpush(f"{queue}_later", *[b"y"] * 4)
        here = tap(queue, f"{queue}_later", queue_order="strict")
        assert [len(message.body) for message in here.take(8)] == [len(large)] * 4 + [1] * 4

    def test_the_backlog_of_one_queue_does_not_hide_another(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        here = tap(queue, f"{queue}_full")
        here.quiet(0.05)
        client.rpush(f"{queue}_full", *[b"y"] * 3000)
        here.take(1)
        client.rpush(queue, b"x")
        eventually(lambda: client.exists(here.channel.keys(queue).arrived(here.name)))
        assert b"x" in [message.body for message in here.take(1500)]

    def test_a_caller_without_acknowledgement_gets_one_message_a_call(
        self, connect: Connect, client: redis.Redis, queue: str
    ) -> None:
        got: list[bytes] = []
        with connect() as connection:
            channel: Any = connection.channel()
            consumer = kombu.Consumer(
                channel,
                [kombu.Queue(queue)],
                on_message=lambda message: got.append(message.body),
                no_ack=True,
            )
            with consumer:
                client.rpush(queue, 0, 1)
                connection.drain_events(timeout=60)
                client.rpush(queue, 2, 3)
                for count in (2, 3, 4):
                    connection.drain_events(timeout=60)
                    assert len(got) == count
                client.hset(channel.keys(queue).held(channel.consumer), "1", b"4")
                client.rpush(queue, 5)
                channel.housekeeping._next_beat = 0.0
                connection.drain_events(timeout=60)
                assert len(got) == 5, "the one whose reply was lost, and no other"
                connection.drain_events(timeout=60)
        assert got == [b"%d" % n for n in range(6)]


class TestServers(Mishaps):
    def test_a_full_server_loses_nothing(self, make_redis: Callable[..., RedisServer], queue: str) -> None:
        server = make_redis(args=["--maxmemory-policy", "noeviction"])
        backend = open_backend(server.url, expire=3600)
        with open_connection(server.url) as connection, redis.Redis(port=server.port) as client:
            here = Tap(connection, (queue,), 3)
            assert here.verbs.enlist(backend)
            here.publish(queue, *(b"%d" % n for n in range(6)))
            messages = here.take(3)
            client.zadd("delayed_tasks", {b'{"UUID":"1","Name":"a","RoutingKey":"%b"}' % queue.encode(): 1})
            client.config_set("maxmemory", 1)
            commits = [
                Commit(
                    states=(done(f"task_{n}"),),
                    publishes=(Publish(f"{queue}_next", b"x"),),
                    settle=Settle(message.delivery),
                )
                for n, message in enumerate(messages)
            ]
            for act in (
                lambda: here.verbs.commit(commits[:1]),
                lambda: here.verbs.commit(commits),
                lambda: here.publish(queue, b"y"),
                lambda: here.channel.fetcher.fetch(queue, 3),
                lambda: here.channel.housekeeping._move_due(),
            ):
                with suppress(*CONNECTION_ERRORS):
                    act()
            with suppress(*CONNECTION_ERRORS):
                here.verbs.recover("nobody", [queue])
            client.config_set("maxmemory", 0)
            repeated = here.verbs.commit(commits)
            written = client.llen(f"{queue}_next")
            states = backend.read(["task_0", "task_1", "task_2"])
            assert written == 3
            assert all(state is not None and state.success for state in states)
            assert set(repeated) <= {"done", "lost"}
            here.channel.fetcher.reclaim_unknown()
            here.close()
            waiting = client.lrange(queue, 0, -1)
            assert sorted(body for body in waiting if len(body) == 1 and body != b"y") == [b"3", b"4", b"5"]
            assert client.zcard("delayed_tasks") + sum(b"UUID" in body for body in waiting) == 1
        backend.close()

    def test_a_policy_that_may_drop_leases(
        self, make_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture, queue: str
    ) -> None:
        server = make_redis(args=["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"])
        with caplog.at_level(logging.WARNING, "gearmesh"), open_connection(server.url) as connection:
            connection.channel()
            assert caplog.messages == [], "no warning to a program that only sends"
            for n in range(2):
                Tap(connection, (f"{queue}_{n}",), 0)
        (message,) = caplog.messages
        assert "allkeys-lru" in message

    @pytest.mark.parametrize("args", [["--maxmemory-policy", "allkeys-lru"], ["--maxmemory", "100mb"]])
    def test_nothing_to_warn_of(
        self,
        make_redis: Callable[..., RedisServer],
        caplog: pytest.LogCaptureFixture,
        queue: str,
        args: list[str],
    ) -> None:
        server = make_redis(args=args)
        with caplog.at_level(logging.WARNING, "gearmesh"), open_connection(server.url) as connection:
            Tap(connection, (queue,), 0)
        assert caplog.messages == []

    @pytest.mark.parametrize(
        ("version", "fine"), [("6.0.16", False), ("5.0", False), ("6.2.0", True), ("255.255.255", True)]
    )
    def test_its_version(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch, version: str, fine: bool
    ) -> None:
        monkeypatch.setattr(redis.Redis, "info", lambda self, *sections: {"redis_version": version})
        with open_connection(redis_url) as connection:
            if fine:
                connection.channel()
                return
            with pytest.raises(ConfigError, match=rf"Redis {version}, expected 6\.2"):
                connection.channel()

    def test_one_that_does_not_tell(self, make_redis: Callable[..., RedisServer], queue: str) -> None:
        server = make_redis(args=["--rename-command", "INFO", ""])
        with open_connection(server.url) as connection:
            here = Tap(connection, (queue,), 0)
            here.publish(queue, b"x")
            here.take(1)

    def test_asked_once(self, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []
        info = redis.Redis.info

        def counting(self: redis.Redis, *sections: Any) -> Any:
            asked.append(1)
            return info(self, *sections)

        monkeypatch.setattr(redis.Redis, "info", counting)
        with open_connection(redis_url) as connection:
            for _ in range(3):
                connection.channel()
        assert asked == [1]

    def test_scripts_forgotten(self, tap: OpenTap, client: redis.Redis, queue: str) -> None:
        here = tap(queue)
        for n in range(3):
            client.script_flush()
            here.publish(queue, b"%d" % n)
            client.script_flush()
            (message,) = here.take(1)
            client.script_flush()
            assert here.settle(message) == ["done"]


class TestNames(Mishaps):
    def test_a_name_used_again_overwrites_nothing(
        self, connect: Connect, client: redis.Redis, queue: str
    ) -> None:
        name = f"mine{uuid4().hex}"
        client.rpush(queue, b"1", b"2")
        first: Any = connect(name, unacked=RedisUnackedDeliveries(name)).channel()
        first.fetcher.fetch(queue, 1)
        second: Any = connect(name, unacked=RedisUnackedDeliveries(name)).channel()
        second.fetcher.fetch(queue, 1)
        assert sorted(client.hvals(second.keys(queue).held(name))) == [b"1", b"2"]
        for channel in (first, second):
            channel.connection.client.release()

    def test_a_server_that_was_away_decides_nothing(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        """The holder could send no heartbeat meanwhile, so the Reaper does not count that time."""
        tap().publish(queue, b"x")
        holder = tap(queue, prefetch=1, lease=1.0)
        holder.take(1)
        here, now = tap(lease=1.0), 0.0
        watch = Reaper(here.channel, here.channel.leases, 0.1, lambda: now)

        def still_after(seconds: float) -> float:
            nonlocal now
            now += seconds
            watch.look([queue])
            ((_, still),) = watch._seen[queue].values()
            return still

        assert [still_after(0.1) for _ in range(4)] == pytest.approx([0.0, 0.1, 0.2, 0.3])
        here.channel.redis.connection.disconnect()
        assert still_after(60) == pytest.approx(0.3), "time without a connection does not count"
        assert still_after(60) == pytest.approx(0.5), "a long pause between two looks does not count"

    def test_a_second_reaper_goes_on_with_the_silence_that_the_first_has_seen(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        tap().publish(queue, b"x")
        tap(queue, prefetch=1, lease=6.0).take(1)
        first = tap(queue, lease=6.0)
        first.drain(4.5)
        first.close()
        began = time.monotonic()
        (message,) = tap(queue, prefetch=1, lease=6.0).take(1)
        assert message.delivery.redelivered == 1
        assert 1.0 < time.monotonic() - began < 5.5, "the rest of the lease, not another one"

    def test_the_dead_of_this_machine_need_not_be_watched(
        self, tap: OpenTap, client: redis.Redis, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        bodies = [signature(queue, n) for n in range(3)]
        tap().publish(queue, *bodies)
        holder, other = tap(queue, prefetch=3, lease=60.0), tap(lease=60.0)
        held = holder.take(3)
        board = Scoreboard.post(holder.name, 2)
        board.places[1] = held[1].delivery.id
        other.verbs.reap([queue])
        assert other.verbs.pending(queue) == [], "the holder lives"
        board.close(keep=True)
        other.verbs.reap([queue])
        assert other.verbs.pending(queue) == bodies
        assert client.hexists(other.channel.keys(queue).consumers, holder.name), (
            "a blocked wait of the holder may still be open"
        )
        other.verbs.reap([queue])
        assert holder.settle(*held) == ["lost"] * 3
        last = tap(queue, prefetch=3)
        again = last.take(3)
        last.check_losses(again, 1, 1, 1)
        assert [message.delivery.crash_count for message in again] == [None, None, None], (
            "the process may have been killed from outside"
        )

    def test_names_that_no_worker_has_are_passed_over(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        tap().publish(queue, b"x")
        holder = tap(queue, prefetch=1, lease=0.5)
        holder.take(1)
        reaper = tap(queue, prefetch=1, lease=0.5)
        client.hset(reaper.channel.keys(queue).consumers, b"bad\xff", "1")  # type: ignore[arg-type]
        assert len(reaper.take(1)) == 1, "the Reaper still finds the silent worker"

    def test_a_task_that_ran_when_memory_ran_out_is_isolated(
        self, tap: OpenTap, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        tap().publish(queue, *(signature(queue, n) for n in range(2)))
        holder = tap(queue, prefetch=2, lease=60.0)
        held = holder.take(2)
        board = Scoreboard.post(holder.name, 1)
        board.places[0] = held[1].delivery.id
        board.greedy = True
        board.close(keep=True)
        tap(lease=60.0).verbs.reap([queue])
        assert [m.delivery.crash_count for m in tap(queue, prefetch=2).take(2)] == [None, 1]

    def test_after_a_heartbeat_a_reaper_watches_a_whole_lease_again(
        self, tap: OpenTap, client: redis.Redis, queue: str
    ) -> None:
        tap().publish(queue, b"x")
        holder = tap(queue, prefetch=1, lease=2.0)
        holder.take(1)
        first = tap(queue, lease=2.0)
        first.drain(1.5)
        keys = first.channel.keys(queue)
        assert client.hexists(keys.watched, holder.name)
        first.close()
        tap().verbs.heartbeat(holder.name, [queue])
        began = time.monotonic()
        reaper = tap(queue, prefetch=1, lease=2.0)
        reaper.take(1)
        assert time.monotonic() - began >= 1.9

        def forgotten() -> bool:
            reaper.drain(0.1)
            return not client.exists(keys.watched)

        eventually(forgotten, what="Redis keeps nothing about a worker that is gone: the check")


def test_a_chord_is_not_complete_with_a_member_whose_state_the_server_has_lost(redis_url: str) -> None:
    """A server that restarts, or takes over, may have older states than those that a worker has stored."""

    def ended(message: Any) -> Commit:
        sig = decode(message.body)
        check = ChordCheck(sig.GroupUUID, sig.GroupTaskCount)
        return Commit(states=(done(sig.UUID),), settle=Settle(message.delivery), chord=check)

    with (
        App(redis_url, redis_url) as app,
        redis.Redis.from_url(redis_url) as client,
        connect(app.config) as connection,
        connect(app.config) as second,
    ):
        task = app.remote("nothing")
        header = chord([task.s()] * 60, task.si()).delay().header
        first = header.tasks[0].uuid
        before = client.get(first)
        assert before is not None
        channel: Any = connection.channel()
        assert channel.enlist(app.backend)
        commits = [ended(message) for message in channel.fetcher.fetch("machinery_tasks", 60)]
        for start in (0, 20, 40):
            assert set(channel.commit(commits[start : min(start + 20, 58)])) == {"done"}
        client.set(first, before)
        client.delete(chord_progress(header.uuid))
        channel = second.channel()
        assert channel.enlist(app.backend)
        assert channel.commit(commits[58:]) == ["done", "done"], "the last one is not complete"


def test_errors_of_ours_are_no_lost_connections() -> None:
    assert not issubclass(KeyError, Transport.connection_errors)
    assert issubclass(ConnectionError, Transport.connection_errors)
    assert issubclass(redis.ConnectionError, Transport.connection_errors)


WRONG = {
    "shop": "shop",
    "delayed_tasks": "delayed_tasks",
    "consumers": "gearmesh:{shop}:consumers",
    "aside": "gearmesh:{shop}:aside",
    "recovered": "gearmesh:{shop}:recovered",
    "watched": "gearmesh:{shop}:watched",
    "grace": "gearmesh:{shop}:grace",
    "revoked": "gearmesh:revoked",
}


@pytest.mark.parametrize("where", WRONG)
def test_a_worker_beside_a_key_of_another_type(
    redis_url: str, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """The worker names the key, serves the other queues, and returns to this one once an operator deletes the key."""
    key = WRONG[where]
    app = App(redis_url, redis_url)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    with redis.Redis.from_url(redis_url) as client:
        kind = "list" if where in ("grace", "delayed_tasks") else "string"
        client.rpush(key, "x") if kind == "list" else client.set(key, "precious")
        with Worker(app, ["shop", "other"], concurrency=2) as worker:
            assert double.s(2).set(queue="other").delay().get(timeout=20) == 4
            if where in ("grace", "recovered"):  # it does no harm
                assert double.s(3).set(queue="shop").delay().get(timeout=20) == 6
            else:
                eventually(lambda: f"the key {key!r} in Redis is a {kind}, expected a " in caplog.text)
            assert client.type(key).decode() == kind, "the worker has not touched the key"
            client.delete(key)
            assert double.s(3).set(queue="shop").delay().get(timeout=20) == 6
            assert double.s(4).set(queue="other", countdown=0.1).delay().get(timeout=20) == 8
            assert worker.stop(10)
    app.close()


def test_a_queue_that_becomes_another_type_while_it_is_waited_for(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(redis_url, redis_url)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    with redis.Redis.from_url(redis_url) as client, Worker(app, ["shop", "other"], concurrency=1):
        assert double.s(1).set(queue="shop").delay().get(timeout=20) == 2
        client.set("shop", "precious")
        # Redis does not end a blocked wait for this: the next look or wait finds it.
        client.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda: "the key 'shop' in Redis is a string, expected a list" in caplog.text)
        assert double.s(2).set(queue="other").delay().get(timeout=20) == 4
        assert "intake stopped" not in caplog.text
    app.close()


def test_errors_name_the_redis_key_and_its_wrong_type(redis_url: str) -> None:
    app = App(redis_url, redis_url)

    @app.task(unique_for=60)
    def once() -> None: ...

    with redis.Redis.from_url(redis_url) as client:
        client.set("shop", "x")
        with pytest.raises(PublishError, match="the key 'shop' in Redis is a string, expected a list"):
            app.remote("x").apply_async(queue="shop")
        result = CliRunner().invoke(main, ["pending", "--broker", redis_url, "--queue", "shop"])
        assert result.exit_code == 2
        assert "the key 'shop' in Redis is a string, expected a list" in result.output
        client.rpush("gearmesh:revoked", "x")
        with pytest.raises(
            BackendError, match=r"the key 'gearmesh:revoked' in Redis is a list, expected a zset"
        ):
            app.revoke("task_1")
        first = once.delay()
        (claim,) = client.keys("gearmesh:unique:*")
        client.delete(claim)
        client.rpush(claim, "x")
        with pytest.raises(
            BackendError, match=r"the key 'gearmesh:unique:once:.*' in Redis is a list, expected"
        ):
            once.delay()
        assert first.state == "PENDING"
        lock = open_lock(redis_url)
        client.rpush("gearmesh:{lock}:fired", "x")
        with pytest.raises(LockError, match=r"the key 'gearmesh:\{lock\}:fired' in Redis is a list"):
            lock.fired("lock")
        lock.close()
    app.close()


def test_an_announcement_that_is_no_text(redis_url: str) -> None:
    """A foreign message on the channel of final states must not end the thread that listens."""
    backend = open_backend(redis_url, expire=60)
    told: list[str] = []
    stop = backend.watch(lambda succeeded, failed, states: told.extend(succeeded))
    with redis.Redis.from_url(redis_url) as client:
        channel = done_channel(int(redis_url.rpartition("/")[2]))
        eventually(lambda: client.publish(channel, b"\xff task_1") and "task_1" in told)
        client.publish(channel, b'{"TaskUUID":1} task_3')
    backend.write([done("task_2")])
    eventually(lambda: "task_2" in told)
    assert stop is not None
    stop()
    backend.close()
