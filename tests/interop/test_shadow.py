"""A shadow run beside a real Go worker finds three planted differences and touches nothing of the deployment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis

from gearmesh import App
from gearmesh.shadow import SHADOW_QUEUE, copy_calls
from gearmesh.shadow.report import ShadowReport
from gearmesh.shadow.run import ShadowRun
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually

CALLS = 2000
PLANTED = (7, 800, 1999)


def documents(url: str) -> dict[bytes, Any]:
    with closing(redis.Redis.from_url(url)) as client:
        found: dict[bytes, Any] = {}
        for key in client.keys("*"):
            kind = client.type(key)
            if not key.startswith(b"gearmesh:"):  # consumers' and producers' records
                found[key] = client.get(key) if kind == b"string" else client.lrange(key, 0, -1)
        return found


@pytest.mark.peer
def test_three_planted_differences_among_two_thousand_calls(
    start_peer: Callable[..., PeerProcess], fresh_url: Callable[[], str], note: Callable[[str, str], None]
) -> None:
    url = fresh_url()
    start_peer("go", url, "-mode", "worker")

    def waits(producer: App, n: int) -> float:
        began = time.perf_counter()
        assert producer.send_task("add", [n, 1]).get(timeout=30) == n + 1
        return time.perf_counter() - began

    with App(url, url) as app, App(url, url) as producer:

        @app.task
        def add(*numbers: int) -> int:
            return sum(numbers) + (numbers[0] in PLANTED)

        alone = statistics.median(waits(producer, n) for n in range(300))
        copies = copy_calls(producer, ["add"], 1.0)
        report = ShadowReport(threshold=0.99, least=100)
        with ShadowRun(app, ["add"], report) as run:
            shadowed = statistics.median(waits(producer, n) for n in range(10_000, 10_300))
            run.wait(300, 60)
        assert report.tasks["add"].agreed == 300

        report = ShadowReport(threshold=0.99, least=100)
        sent = []
        call = producer.remote("add", "int64", "int64", results="int64")
        for start in range(0, CALLS, 500):
            sent += producer.publish_many([call.s(n, 1) for n in range(start, start + 500)])
            eventually(lambda: not copies.waiting)
        eventually(lambda: all(each.ready() for each in sent))
        copies.close()
        before = documents(url)
        assert len(before.pop(SHADOW_QUEUE.encode())) == CALLS
        with ShadowRun(app, ["add"], report) as run:
            run.wait(CALLS, 100)
        assert documents(url) == before
    found = report.tasks["add"]
    assert (found.agreed, found.differed, found.crashed, found.unanswered) == (CALLS - 3, 3, 0, 0)
    assert {uuid for uuid, _ in found.differences} == {sent[n].uuid for n in PLANTED}
    note(
        "shadow", f"median of a call: {alone * 1e3:.2f} ms alone, {shadowed * 1e3:.2f} ms beside a shadow run"
    )
