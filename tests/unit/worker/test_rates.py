"""``rate``: at most so many starts over all workers of a queue."""

from __future__ import annotations

import time
import uuid

import pytest

from gearmesh import App
from gearmesh.interfaces.transport import RateRequest
from gearmesh.transports.rate_limit import RESERVATION_GRACE_NS, LocalRateLimiter
from gearmesh.worker import Worker


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return str(request.getfixturevalue("redis_url"))


def test_two_workers_keep_one_rate(url: str) -> None:
    app = App(broker=url, backend=url)
    starts: list[float] = []

    @app.task(rate="10/s")
    def limited(n: int) -> int:
        starts.append(time.monotonic())
        return n

    with Worker(app, concurrency=4), Worker(app, concurrency=4):
        began = time.monotonic()
        results = [limited.delay(n) for n in range(8)]
        assert [result.get(timeout=20) for result in results] == list(range(8))
    # Seven pauses of 0.1 s were reserved after the first start; a start may be late, but none is early.
    assert max(starts) - began >= 0.69
    assert len(starts) == 8
    app.close()


def test_others_do_not_wait_behind_them(url: str) -> None:
    app = App(broker=url, backend=url)

    @app.task(rate="1/h")
    def limited(n: int) -> int:
        return n

    @app.task
    def free(n: int) -> int:
        return n

    with Worker(app, concurrency=1):
        slow = [limited.delay(n) for n in range(20)]
        assert slow[0].get(timeout=10) == 0
        assert [free.delay(n).get(timeout=10) for n in range(5)] == list(range(5))
        assert not any(result.ready() for result in slow[1:])
    app.close()


def test_a_reservation_that_another_process_used_is_not_kept() -> None:
    """Its message went to another process: this one does not keep the bytes for the rest of its life."""
    rates, start = LocalRateLimiter(), 10**18
    requests = [RateRequest("queue", "task", 0.001, b"%d" % number) for number in range(100)]
    assert [rates.reserve(request, start) > 0 for request in requests] == [False] + [True] * 99
    assert len(rates._reserved) == 99
    assert rates.reserve(requests[99], start + 10**9) == 0, "its own message comes back: it runs"
    assert rates.reserve(requests[0], start + 2 * RESERVATION_GRACE_NS) == 0
    assert not rates._reserved
    assert not rates._by_time


def test_a_message_that_comes_back_after_its_turn_keeps_its_next_reservation() -> None:
    """The message was admitted, returned before it began, and waits again: the old reservation does not end the new."""
    rates, second = LocalRateLimiter(), 10**9
    hour = 3600 * second
    start = 10**18
    first, other = (RateRequest("queue", "task", 3600.0, body) for body in (b"first", b"other"))
    assert rates.reserve(other, start) == 0
    at = rates.reserve(first, start)
    assert at == start + hour
    assert rates.reserve(first, at) == 0, "its turn has come"
    again = rates.reserve(first, at + second)
    assert again == start + 2 * hour
    assert rates.reserve(other, at + 2 * RESERVATION_GRACE_NS) == start + 3 * hour
    assert rates.reserve(first, again) == 0, "its next turn has come"
