"""Real servers stop: the scheduler keeps due runs, sends them once, or reports those that it missed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timezone

import pytest
import redis
from tests.support.servers import RedisServer

from gearmesh import App, chord
from gearmesh.scheduler import Scheduler
from gearmesh.testing.clocks import SimulatedTime
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually

QUEUE = "machinery_tasks"


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime("2024-03-01T12:00:00Z")


class Advance(threading.Thread):
    """Lets time go by while the test does something to the servers."""

    def __init__(self, time: SimulatedTime, seconds: float, scheduler: Scheduler) -> None:
        super().__init__(daemon=True)
        self._what = lambda: time.advance(seconds, scheduler)
        self.start()

    def run(self) -> None:
        self._what()


def test_the_broker_is_away_when_it_is_due(
    make_redis: Callable[..., RedisServer], redis_url: str, time: SimulatedTime
) -> None:
    server = make_redis(aof="always")
    app = App(server.url, server.url, lock=redis_url)
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    with Scheduler(app, clock=time.clock()) as scheduler, redis.Redis.from_url(server.url) as client:
        time.advance(3600, scheduler)
        assert client.llen(QUEUE) == 1
        server.kill()
        going = Advance(time, 3600, scheduler)
        eventually(lambda: scheduler._pending)
        server.start()
        going.join(20)
        assert not going.is_alive()
        assert client.llen(QUEUE) == 2
        time.advance(3600, scheduler)
        assert client.llen(QUEUE) == 3
    app.close()


def test_the_backend_is_away_when_a_chord_is_due(
    make_redis: Callable[..., RedisServer], redis_url: str, time: SimulatedTime
) -> None:
    server = make_redis(aof="always")
    app = App(redis_url, server.url, lock=redis_url)
    app.periodic("0 * * * *", chord([app.remote("x").s()] * 2, app.remote("y").s()), name="z", tz="UTC")
    with Scheduler(app, clock=time.clock()) as scheduler, redis.Redis.from_url(redis_url) as client:
        server.kill()
        going = Advance(time, 3600, scheduler)
        eventually(lambda: scheduler._pending)
        assert client.llen(QUEUE) == 0
        server.start()
        going.join(20)
        assert not going.is_alive()
        assert client.llen(QUEUE) == 2
    app.close()


def test_the_brokers_answer_is_lost(
    redis_server: RedisServer, redis_url: str, make_proxy: Callable[..., Proxy], time: SimulatedTime
) -> None:
    proxy = make_proxy(redis_server.port)
    behind = redis_url.replace(str(redis_server.port), str(proxy.port))
    app = App(behind, behind, lock=redis_url)
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    with Scheduler(app, clock=time.clock()) as scheduler, redis.Redis.from_url(redis_url) as client:
        time.advance(3600, scheduler)
        proxy.lose_replies(1, match=b"EVAL")
        time.advance(3600, scheduler)
        assert proxy.lost == 1
        assert client.llen(QUEUE) == 2
    app.close()


def test_the_broker_is_away_for_too_long(
    make_redis: Callable[..., RedisServer],
    redis_url: str,
    time: SimulatedTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_redis()
    app = App(server.url, server.url, lock=redis_url)
    app.periodic("* * * * *", app.remote("x").s(), tz="UTC")
    with Scheduler(app, clock=time.clock()) as scheduler:
        server.kill()
        going = Advance(time, 60, scheduler)
        eventually(lambda: scheduler._pending)
        going.join(0.3)
        assert going.is_alive()
        time.steady += 60 * 10**9
        going.join(20)
    (lost,) = [record for record in caplog.records if "not sent" in record.message]
    assert datetime.fromisoformat(vars(lost)["due"]) == datetime(2024, 3, 1, 12, 1, tzinfo=timezone.utc)
    assert "could not be published to queue 'machinery_tasks'" in lost.message
    app.close()


def test_an_outage_is_logged_once(
    make_redis: Callable[..., RedisServer],
    redis_url: str,
    time: SimulatedTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gearmesh.scheduler")
    server = make_redis(aof="always")
    with App(server.url, server.url, lock=redis_url) as app:
        for name in "abc":
            app.periodic("0 * * * *", app.remote("x").s(), name=name, tz="UTC")
        with Scheduler(app, clock=time.clock()) as scheduler:
            server.kill()
            going = Advance(time, 3600, scheduler)
            eventually(lambda: "unreachable" in caplog.text)
            going.join(1.5)
            server.start()
            going.join(20)
            assert not going.is_alive()
    outage = [message for message in caplog.messages if "reachable" in message]
    warning, back = outage
    assert warning.startswith(
        f"broker {server.url} is unreachable "
        "(due tasks wait, and are sent if the server is back before they are due again): "
    )
    assert back.startswith(f"broker {server.url} is reachable again after ")


def test_the_end_while_the_broker_is_away(
    make_redis: Callable[..., RedisServer],
    redis_url: str,
    time: SimulatedTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_redis()
    app = App(server.url, server.url, lock=redis_url)
    app.periodic("0 * * * *", app.remote("x").s(), tz="UTC")
    with Scheduler(app, clock=time.clock()) as scheduler:
        server.kill()
        going = Advance(time, 3600, scheduler)
        eventually(lambda: "unreachable" in caplog.text)
        assert scheduler.stop(0.2) is False
        going.join(20)
        eventually(lambda: "not sent" in caplog.text)
    app.close()


def test_two_schedulers_over_one_lock(redis_url: str) -> None:
    """In real time, the two schedulers together send about one message a second."""
    apps = [App(redis_url, redis_url, lock=redis_url) for _ in range(2)]
    for number, app in enumerate(apps):
        app.periodic("@every 1s", app.remote(f"x{number}").s(), name="tick")
    with redis.Redis.from_url(redis_url) as client, Scheduler(apps[0]), Scheduler(apps[1]):
        eventually(lambda: client.llen(QUEUE) == 1)
        began = client.time()
        eventually(lambda: client.llen(QUEUE) == 4)
        ended = client.time()
    seconds = (ended[0] - began[0]) + (ended[1] - began[1]) / 1e6
    assert 2.0 < seconds < 20, "two that know nothing of each other need 1.5 s"
    for app in apps:
        app.close()
