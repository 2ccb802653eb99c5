from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.servers import RedisServer, free_port

from gearmesh.testing.proxy import Proxy

MakeProxy = Callable[..., Proxy]


def client(port: int) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0), socket_timeout=5)


def test_it_forwards_much(redis_server: RedisServer, redis_url: str, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(redis_server.port)
    with client(proxy.port) as db:
        db.set("proxy:big", b"x" * 5_000_000)
        assert len(db.get("proxy:big")) == 5_000_000  # type: ignore[arg-type]
        db.delete("proxy:big")
        assert proxy.connections == 1


def test_cut_ends_open_connections_and_takes_new_ones(
    redis_server: RedisServer, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(redis_server.port)
    with client(proxy.port) as db:
        assert db.ping()
        waiting = threading.Timer(0.1, proxy.cut)
        waiting.start()
        with pytest.raises(redis.ConnectionError):
            db.blpop(["proxy:none"], timeout=4)
        waiting.join()
        assert db.ping()


def test_refuse_and_allow(redis_server: RedisServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(redis_server.port)
    with client(proxy.port) as old, client(proxy.port) as new:
        assert old.ping()
        proxy.refuse()
        proxy.refuse()
        assert old.ping()
        with pytest.raises(redis.ConnectionError, match="refused"):
            new.ping()
        proxy.allow()
        proxy.allow()
        assert new.ping()


def test_a_lost_reply_is_to_a_request_that_was_done(redis_server: RedisServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(redis_server.port)
    with client(proxy.port) as db:
        db.delete("proxy:n")
        proxy.lose_replies(2, match=b"INCR")
        assert db.ping()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                db.incr("proxy:n")
        assert db.incr("proxy:n") == 3
        assert proxy.lost == 2


def test_latency(redis_server: RedisServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(redis_server.port, latency=0.05)
    with client(proxy.port) as db:
        db.ping()
        start = time.monotonic()
        db.ping()
        assert time.monotonic() - start >= 0.05


def test_closing_ends_all_threads(redis_server: RedisServer) -> None:
    before = threading.active_count()
    with Proxy(redis_server.port) as proxy:
        clients = [client(proxy.port) for _ in range(10)]
        assert all(db.ping() for db in clients)
        assert proxy.connections == 10
    proxy.close()
    proxy.allow()
    assert threading.active_count() == before
    for db in clients:
        with pytest.raises(redis.ConnectionError):
            db.ping()
        db.close()


def test_a_target_that_is_away(make_proxy: MakeProxy) -> None:
    proxy = make_proxy(free_port())
    with client(proxy.port) as db, pytest.raises(redis.ConnectionError):
        db.ping()
