"""The server acts, and its answer never arrives: everything still happens once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
import redis
from tests.support.tally import Tally

from gearmesh import App, chain, chord
from gearmesh.interfaces.commit import Delivery
from gearmesh.redis_client.runner import source
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.redis import RedisUnackedDeliveries
from gearmesh.transports.redis import connection as redis_connection
from gearmesh.transports.registry import open_connection
from gearmesh.worker import Worker

COUNT = 300


def sha(script: str) -> bytes:
    """Return a part of each request that runs this script."""
    return source(script)[1].encode()


class Counted:
    """An app through a proxy, whose tasks count their runs in this process."""

    def __init__(self, url: str, proxy: Proxy) -> None:
        self.proxy = proxy
        self.runs = Tally()
        way = url.replace(url.split(":")[2].split("/")[0], str(proxy.port))
        self.app = App(way, way, lease=2.0, publish_timeout=20.0)
        self.work = self.app.task(self._work, name="work")
        self.step = self.app.task(self._step, name="step")
        self.total = self.app.task(self._total, name="total")

    def _work(self, key: str) -> str:
        self.runs.add(key)
        return key

    def _step(self, key: str, number: int) -> int:
        self.runs.add(f"{key}/{number}")
        return number + 1

    def _total(self, *numbers: int) -> int:
        self.runs.add("total")
        return sum(numbers)

    def doubled(self) -> dict[str, int]:
        return {key: count for key, count in self.runs.items() if count != 1}


@pytest.fixture
def counted(redis_url: str, make_proxy: Callable[..., Proxy]) -> Iterator[Counted]:
    proxy = make_proxy(int(redis_url.split(":")[2].split("/")[0]))
    counted = Counted(redis_url, proxy)
    with counted.app:
        yield counted


@pytest.mark.parametrize("script", ["fetch", "settle"])
def test_replies_to_a_worker(counted: Counted, redis_url: str, script: str) -> None:
    with App(redis_url, redis_url) as outside, Worker(counted.app, concurrency=4):
        work = outside.remote("work", "string")
        lost = 0
        for batch in range(6):
            counted.proxy.lose_replies(2, sha(script))
            keys = [f"{script}/{batch}/{number}" for number in range(COUNT // 6)]
            results = outside.publish_many(work.s(key) for key in keys)
            assert [result.get(timeout=20) for result in results] == keys
            counted.proxy.lose_replies(0)
        lost = counted.proxy.lost
    assert lost >= 3, "the test has lost replies"
    assert len(counted.runs) == COUNT
    assert not counted.doubled()


def test_replies_to_a_waiting_worker(counted: Counted, redis_url: str) -> None:
    """The blocking wait has moved a message, but its reply is lost."""
    with App(redis_url, redis_url) as outside, Worker(counted.app, concurrency=2):
        work = outside.remote("work", "string")
        for number in range(10):
            counted.proxy.lose_replies(1, b"BLMOVE")
            assert work.delay(f"wait/{number}").get(timeout=20) == f"wait/{number}"
            counted.proxy.lose_replies(0)
        assert counted.proxy.lost >= 3
    assert not counted.doubled()


def test_replies_to_a_producer(counted: Counted, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as server:
        counted.work.delay("first")
        for number in range(10):
            counted.proxy.lose_replies(2, sha("publish"))
            counted.work.delay(f"one/{number}")
            counted.app.publish_many(counted.work.s(f"many/{number}/{i}") for i in range(400))
            counted.proxy.lose_replies(0)
        assert counted.proxy.lost >= 10
        assert server.llen("machinery_tasks") == 1 + 10 * 401
        with Worker(counted.app, concurrency=4):
            eventually(lambda: len(counted.runs) == 1 + 10 * 401)
            eventually(lambda: not server.llen("machinery_tasks"))
    assert not counted.doubled()


def test_replies_in_chains_and_chords(counted: Counted) -> None:
    """Any reply may be lost: each step is still sent once, and each chord's callback is sent once."""
    stop = threading.Event()

    def lose() -> None:
        # Stop after a few losses: the retried commit may be the only call, and would lose each reply.
        while counted.proxy.lost < 8 and not stop.wait(0.05):
            counted.proxy.lose_replies(1, b"EVALSHA")
        counted.proxy.lose_replies(0)

    with Worker(counted.app, concurrency=4):
        thief = threading.Thread(target=lose)
        thief.start()
        try:
            line = chain(counted.step.s("chain", 0), *(counted.step.s("chain") for _ in range(29)))
            results = [
                line.apply_async(),
                chord([counted.step.s("chord", i) for i in range(50)], counted.total.s()).apply_async(),
            ]
            values = [result.get(timeout=60) for result in results]
        finally:
            stop.set()
            thief.join()
    assert values == [30, sum(range(1, 51))]
    assert counted.proxy.lost > 3
    assert not counted.doubled()


def test_a_connection_that_ends_while_a_channel_is_made(
    redis_url: str, make_proxy: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remains of the first try must not be in the way of the second."""
    proxy = make_proxy(int(redis_url.split(":")[2].split("/")[0]))
    real = redis_connection.TypeCheckingRedis
    tries = 0

    def connect(*args: Any, **kwargs: Any) -> Any:
        nonlocal tries
        if not kwargs.get("single_connection_client"):
            return real(*args, **kwargs)
        tries += 1
        if tries == 1:
            proxy.refuse()
            proxy.cut()
            time.sleep(0.1)
        try:
            return real(*args, **kwargs)
        finally:
            proxy.allow()

    monkeypatch.setattr(redis_connection, "TypeCheckingRedis", connect)
    unacked = RedisUnackedDeliveries("busy")  # its worker is in the midst of a task
    unacked.open[1] = Delivery(queue="q", consumer="busy", id=1)
    with open_connection(f"redis://127.0.0.1:{proxy.port}/0", options={"unacked": unacked}) as connection:
        try:
            channel = connection.channel()
        except connection.connection_errors:
            channel = connection.channel()
        assert tries == 2
        with kombu.Consumer(channel, [kombu.Queue("q")], on_message=print), pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
