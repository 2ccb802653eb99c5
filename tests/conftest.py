"""Servers for every suite. A missing server skips its tests here, and fails them under CI=true."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import pytest
import redis

from gearmesh.testing.proxy import Proxy
from gearmesh.testing.servers import RedisServer, ServerMissing


def missing(reason: ServerMissing) -> NoReturn:
    """Skip for want of a server; fail where there must be one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {reason}", pytrace=False)
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the whole run; leave it running and unpaused."""
    try:
        server = RedisServer()
    except ServerMissing as reason:
        missing(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def redis_dbs() -> Iterator[int]:
    """Database numbers in turn, so that a late thread of one test does not meet the next."""
    return itertools.cycle(range(16))


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_dbs: Iterator[int]) -> str:
    """The URL of an empty database of the run's Redis."""
    db = next(redis_dbs)
    with redis.Redis(host="127.0.0.1", port=redis_server.port, db=db) as client:
        client.flushdb()
    return redis_server.url_of(db)


@pytest.fixture
def make_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of the test's own, with RedisServer's arguments: to kill, pause or restart."""
    with ExitStack() as stack:

        def make(**options: Any) -> RedisServer:
            try:
                server = RedisServer(**options)
            except ServerMissing as reason:
                missing(reason)
            return stack.enter_context(server)

        yield make


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., Proxy]]:
    """Start a TCP proxy, with Proxy's arguments."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(Proxy(*args, **options))
