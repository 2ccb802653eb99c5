"""A lone call on Redis: gearmesh sends it once even if its answer is lost; and the bytes on its connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
import redis
from redis import exceptions
from tests.support.servers import RedisServer

from gearmesh import App
from gearmesh.backends.registry import open_backend
from gearmesh.config import RedisConfig
from gearmesh.errors import PublishError
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.redis_client.connections import CONNECTION_ERRORS, Connection
from gearmesh.redis_client.runner import run_in_turn
from gearmesh.redis_client.wrong_type import TypeCheckingRedis
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import decode
from gearmesh.wire.names import done_channel
from gearmesh.wire.state import PENDING, SUCCESS, TaskResult, TaskState

QUEUE = "machinery_tasks"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_a_call_whose_answer_is_lost_is_sent_once(
    redis_server: RedisServer, redis_url: str, client: redis.Redis
) -> None:
    with Proxy(redis_server.port) as proxy:
        url = redis_url.replace(f":{redis_server.port}/", f":{proxy.port}/")
        with App(broker=url, backend=redis_url) as app:
            add = app.remote("add", "int64", "int64", results="int64")
            add.delay(1, 2)
            proxy.lose_replies(2, b"EVALSHA")
            result = add.delay(3, 4)
            assert proxy.lost == 2
            assert client.llen(QUEUE) == 2
            assert result.state == PENDING


def test_a_repeated_call_leaves_the_state_of_a_quick_worker(redis_url: str, client: redis.Redis) -> None:
    with App(broker=redis_url, backend=redis_url) as app:
        add = app.remote("add", "int64", "int64", results="int64")
        publisher, commits = app._publisher, []
        send, publisher.send = publisher.send, lambda some, **how: commits.extend(some)  # type: ignore[method-assign]
        result = add.delay(1, 2)
        assert commits[0].new_uuid
        send(commits)
        app.backend.write([TaskState(TaskUUID=result.uuid, State=SUCCESS, Results=())])
        send(commits)
        assert client.llen(QUEUE) == 1
        assert result.state == SUCCESS


def test_a_key_that_is_no_list_is_named_and_nothing_is_stored(redis_url: str, client: redis.Redis) -> None:
    client.set(QUEUE, "precious")
    with (
        App(broker=redis_url, backend=redis_url) as app,
        pytest.raises(PublishError, match=f"{QUEUE}.* is a string"),
    ):
        app.remote("add", "int64", "int64", results="int64").delay(1, 2)
    assert client.keys() == [QUEUE.encode()]


def test_a_read_over_a_kept_connection_that_the_server_has_closed(
    redis_url: str, client: redis.Redis
) -> None:
    backend = open_backend(redis_url, expire=60)
    state = TaskState(TaskUUID="task_1", TaskName="add", State=PENDING, CreatedAt="2026-01-01T00:00:00Z")
    try:
        for _ in range(3):
            backend.write([state])
            assert backend.read(["task_1", "task_none"]) == [state, None]
            for each in client.client_list(_type="normal"):
                if each["id"] != str(client.client_id()):
                    client.client_kill_filter(_id=each["id"])
    finally:
        backend.close()


@pytest.mark.parametrize("command", ["evalsha", "mget"])
def test_a_call_over_a_kept_connection_is_repeated_unless_it_timed_out(
    redis_server: RedisServer, redis_url: str, client: redis.Redis, command: str
) -> None:
    """The server counts the commands: if it is slow, a repetition would double its load."""
    state = TaskState(TaskUUID="task_1", TaskName="add", State=PENDING, CreatedAt="2026-01-01T00:00:00Z")
    settings = RedisConfig(read_timeout=0.5, write_timeout=0.5)

    def count() -> int:
        stats: Any = client.info("commandstats")
        return int(stats[f"cmdstat_{command}"]["calls"])

    with Proxy(redis_server.port) as proxy:
        url = redis_url.replace(f":{redis_server.port}/", f":{proxy.port}/")
        backend = open_backend(url, expire=60, options={"redis": settings})
        call = partial(backend.write, [state]) if command == "evalsha" else partial(backend.read, ["task_2"])
        call()
        before = count()
        proxy.latency = 2.0
        with pytest.raises(exceptions.TimeoutError):
            call()
        proxy.latency = 0.0
        assert count() == before + 1
        call()
        proxy.lose_replies(1, command.upper().encode())
        call()
        assert (proxy.lost, count()) == (1, before + 4)
        backend.close()
    assert client.keys() == ([b"task_1"] if command == "evalsha" else [])


@pytest.mark.parametrize(
    ("tasks", "result", "holds_state"),
    [
        pytest.param(1, '"a b"', True, id="one"),
        pytest.param(1, '"%s"' % ("x" * 1024), False, id="a large one"),
        pytest.param(2, "1", False, id="two"),
    ],
)
def test_an_announcement_holds_the_state_of_the_only_task(
    redis_url: str, client: redis.Redis, tasks: int, result: str, holds_state: bool
) -> None:
    heard: list[Any] = []
    with App(redis_url, redis_url) as app, connect(app.config) as connection, client.pubsub() as pubsub:
        task = app.remote("say", results="string")
        uuids = [result.uuid for result in app.publish_many([task.s()] * tasks)]
        stop = app.backend.watch(lambda succeeded, failed, states: heard.append((succeeded, failed, states)))
        assert stop is not None
        channel = done_channel(int(redis_url.rpartition("/")[2]))
        pubsub.subscribe(channel)
        eventually(lambda: dict(client.pubsub_numsub(channel))[channel.encode()] == 2)
        consumer = connection.channel()
        commits = [
            Commit(
                states=(
                    TaskState(
                        TaskUUID=decode(message.body).UUID,
                        State=SUCCESS,
                        Results=(TaskResult("string", msgspec.Raw(result.encode())),),
                    ),
                ),
                settle=Settle(message.delivery),
            )
            for message in consumer.fetcher.fetch(QUEUE, 2)
        ]
        assert consumer.enlist(app.backend)
        assert consumer.commit(commits) == ["done"] * tasks
        eventually(lambda: heard)
        stop()
        stored = client.get(uuids[0])
        said = [message["data"] for message in iter(partial(pubsub.get_message, timeout=1), None)][1:]
        assert said == ([stored] if holds_state else [" ".join(uuids).encode()])
        assert heard == [(uuids, [], app.backend.read(uuids) if holds_state else ())]


@pytest.fixture
def kept(redis_server: RedisServer) -> Iterator[TypeCheckingRedis]:
    pool = _pool(redis_server.port)
    with TypeCheckingRedis(connection_pool=pool, single_connection_client=True) as kept:
        kept.ping()
        yield kept
    pool.disconnect()


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("'1'", b"1"),
        ("''", b""),
        ("false", None),
        ("12", 12),
        ("{1, '2'}", [1, b"2"]),
        (r"'a\r\nb\r\n'", b"a\r\nb\r\n"),
        ("string.rep('a', 200000)", b"a" * 200_000),
        (r"string.rep('\r\n', 100000)", b"\r\n" * 100_000),
        ("redis.status_reply('FINE')", b"FINE"),
    ],
)
def test_any_answer_is_read_whole(kept: TypeCheckingRedis, value: str, answer: object) -> None:
    for _ in range(3):
        assert kept.ask("EVAL", f"return {value}", 0) == answer
    assert kept.ask("EVAL", "return '1'", 0) == b"1"


def test_an_error_is_raised_and_the_connection_stays(kept: TypeCheckingRedis) -> None:
    socket_before = kept.connection._sock  # type: ignore[union-attr]
    with pytest.raises(exceptions.ResponseError, match="no good"):
        kept.ask("EVAL", "return redis.error_reply('ERR no good')", 0)
    with pytest.raises(exceptions.NoScriptError):
        kept.ask("EVALSHA", "0" * 40, 0)
    assert kept.ask("EVAL", "return '1'", 0) == b"1"
    assert kept.connection._sock is socket_before  # type: ignore[union-attr]


def test_many_questions_are_answered_in_order(kept: TypeCheckingRedis) -> None:
    answers: list[object] = []
    kept.ask_each((("EVAL", "return ARGV[1]", 0, str(n)) for n in range(500)), answers.append)
    assert answers == [b"%d" % n for n in range(500)]
    kept.ask_each([], answers.append)
    assert len(answers) == 500


@pytest.mark.parametrize("failing", ["server", "question", "use"])
def test_no_answer_is_left_for_a_later_question(kept: TypeCheckingRedis, failing: str) -> None:
    def commands() -> Iterator[tuple[object, ...]]:
        for n in range(5):
            if failing == "question" and n == 3:
                raise ValueError("no good")
            text = (
                "return redis.error_reply('ERR no good')" if failing == "server" and n == 2 else "return '7'"
            )
            yield ("EVAL", text, 0)

    def use(answer: object) -> None:
        if failing == "use":
            raise ValueError("no good")

    with pytest.raises((ValueError, exceptions.ResponseError), match="no good"):
        kept.ask_each(commands(), use)
    assert kept.ask("EVAL", "return '1'", 0) == b"1"


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_script_is_run_for_each_part_though_the_server_forgets_it(
    kept: TypeCheckingRedis, client: redis.Redis, forgotten: bool
) -> None:
    def arguments(n: int) -> list[Any]:
        if forgotten and n == 3:
            client.script_flush()
        return [b"", 60, 1000, 1, f"key_{n}", '{"a":1}']

    run_in_turn(kept, "publish", ["gearmesh"], range(6), arguments)
    run_in_turn(kept, "publish", ["gearmesh"], [], arguments)
    keys = [f"key_{n}" for n in range(6)]
    assert kept.mget(keys) == [b'{"a":1}'] * 6
    kept.delete(*keys)


def test_a_large_command_is_written_whole(kept: TypeCheckingRedis) -> None:
    text = b"x" * 20_000_000
    assert kept.ask("EVAL", "return #ARGV[1]", 0, text) == len(text)


def _answer_in_pieces(
    listener: socket.socket, pieces: list[bytes], over: threading.Event | None = None
) -> None:
    """Accept one connection, answer OK to all that redis-py says at its begin, and then with ``pieces``.

    ``over``: awaited before the connection ends.
    """
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while b"EVALSHA" not in (data := connection.recv(65_536)):
            connection.sendall(b"+PONG\r\n" if b"PING" in data else b"+OK\r\n" * data.count(b"*"))
        for piece in pieces:
            connection.sendall(piece)
            threading.Event().wait(0.01)  # so that the pieces travel apart, if they can
        if over is not None:
            over.wait(30)


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"$1\r\n1\r\n"], b"1"),
        ([b"$", b"1\r", b"\n1\r\n"], b"1"),
        ([b"$12\r\nabc\r\n", b"defghij\r\n"], b"abc\r\ndefghij"),
        ([b"$3\r\nabc"], None),
        ([b""], None),
    ],
)
def test_an_answer_in_pieces(pieces: list[bytes], answer: bytes | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_answer_in_pieces, args=(listener, pieces))
        server.start()
        pool = _pool(listener.getsockname()[1], protocol=2)
        with TypeCheckingRedis(connection_pool=pool, single_connection_client=True) as kept:
            kept.ping()
            if answer is None:  # the server ends the connection in the middle
                with pytest.raises(CONNECTION_ERRORS):
                    kept.ask("EVALSHA", "0" * 40, 0)
                assert kept.connection._sock is None  # type: ignore[union-attr]
            else:
                assert kept.ask("EVALSHA", "0" * 40, 0) == answer
        pool.disconnect()
        server.join()


def test_a_server_that_is_silent_is_named_and_the_connection_ends() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_answer_in_pieces, args=(listener, [], over))
        server.start()
        port = listener.getsockname()[1]
        pool = _pool(port, protocol=2)
        with TypeCheckingRedis(connection_pool=pool, single_connection_client=True) as kept:
            kept.ping()
            kept.connection._sock.settimeout(0.05)  # type: ignore[union-attr]
            with pytest.raises(exceptions.TimeoutError, match=str(port)):
                kept.ask("EVALSHA", "0" * 40, 0)
            assert kept.connection._sock is None  # type: ignore[union-attr]
        over.set()
        pool.disconnect()
        server.join()


def _pool(port: int, **options: Any) -> redis.ConnectionPool:
    return redis.ConnectionPool(
        connection_class=Connection, port=port, socket_timeout=30, health_check_interval=25, **options
    )
