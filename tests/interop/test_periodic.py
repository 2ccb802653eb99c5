"""Periodic tasks over one lock: of several schedulers, in Go or Python, only one sends each run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from tests.support.servers import RedisServer

from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually

from .conftest import PEER
from .scenarios import Side, sig

TICKS = "ticks"


def tick(name: str) -> dict[str, object]:
    """Return the request for a task of this name, which waits in a queue that no worker reads."""
    return {"Op": "periodic", "Spec": "@every 1s", "Name": "tick", "Sig": {"Name": name, "RoutingKey": TICKS}}


def run(url: str, seconds: int, timeout: float) -> tuple[Counter[str], float]:
    """Collect the first tasks fired from the first tick on, and how long that took on the server's clock."""
    with redis.Redis.from_url(url) as client:

        def now() -> float:
            whole, micros = client.time()
            return float(whole) + micros / 1e6

        eventually(lambda: client.llen(TICKS))
        began = now()
        client.delete(TICKS)
        eventually(lambda: now() - began >= seconds, timeout)
        bodies = client.lrange(TICKS, 0, -1)
        took = now() - began
    return Counter(json.loads(body)["Name"] for body in bodies), took


@pytest.fixture
def url(make_redis: Callable[..., RedisServer]) -> str:
    """Database 0 of a Redis: Go keeps its lock there even if its URL names another."""
    return make_redis().url


def test_python_and_python(url: str, start_peer: Callable[..., PeerProcess]) -> None:
    for number in range(3):
        peer = start_peer("python", url, "-mode", "client", "-lock", url)
        assert peer.ask(tick(f"python{number}"))["OK"]
    ticks, took = run(url, 4, 60)
    assert took - 1.5 <= ticks.total() <= took + 1.5


@pytest.mark.peer
@pytest.mark.slow
def test_go_and_python(
    url: str, start_peer: Callable[..., PeerProcess], note: Callable[[str, str], None]
) -> None:
    """20 s, one second each: 20 give or take one."""
    own = ("-mode", "client", "-lock", url)
    peers = [start_peer("go", url, *own)]
    peers += [start_peer("python", url, *own, "-lock-executable", Path(PEER[0]).name) for _ in range(2)]
    for number, peer in enumerate(peers):
        assert peer.ask(tick(f"python{number}" if number else "go"))["OK"]
    ticks, took = run(url, 20, 40)
    note("one lock", f"{ticks.total()} runs in {took:.1f} s, {dict(ticks)}")
    assert ticks.total() in (19, 20, 21)
    # If one scheduler is killed, the others go on, even if it had the lock.
    peers[0].kill()
    ticks, _ = run(url, 5, 20)
    assert set(ticks) <= {"python1", "python2"}
    assert ticks.total() in (4, 5, 6)
    with redis.Redis.from_url(url) as client:
        assert [key.decode() for key in client.scan_iter("machinery_lock_*")] in (
            [],  # just between two
            [f"machinery_lock_{Path(PEER[0]).name}tick@every 1s"],
        )


def test_one_side_schedules_for_the_other(
    client: Side, worker: Side, url: str, start_peer: Callable[..., PeerProcess]
) -> None:
    own = ("-lock", url, "-queue", "both")
    scheduler = start_peer(client, url, "-mode", "client", *own)
    assert scheduler.ask(
        Op="periodic", Spec="@every 1s", Name="noop", Sig={**sig("noop"), "RoutingKey": "both"}
    )["OK"]
    runner = start_peer(worker, url, "-mode", "worker", *own)
    assert runner.ask(Op="await", Count=2, TimeoutMs=60_000)["OK"]
