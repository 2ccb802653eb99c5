"""Processes that tasks start: nothing of the worker's is theirs."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from gearmesh import App
from gearmesh.testing.waiting import eventually

from .harness import Site
from .producers import remote_tasks
from .rough import Rough

POOLS = ("threads", "processes", "asyncio")


@pytest.mark.parametrize("pool", POOLS)
def test_a_forked_process_is_not_a_second_worker(site: Site, rough: Rough, pool: str) -> None:
    node = rough(pool, "--grace", "2", concurrency=4)
    calls: list[tuple[str, tuple[Any, ...], Any]] = [
        ("fork_process", (), -signal.SIGTERM),
        ("fork_in_coroutine", (), -signal.SIGTERM),
        ("fork_pool", (), 55),
        ("fork_bare", ("return",), 0),
        ("fork_bare", ("raise",), 1),
        ("fork_bare", ("exit",), 7),
        ("fork_twice", (), 0),
        ("fork_sender", (), 0),
        ("subprocess_tree", (), -signal.SIGTERM),
        ("read_input", (), 0),
    ]
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        neighbours = [work.delay(f"neighbour/{i}", 1500) for i in range(3)]
        results = []
        for number, (name, args, _) in enumerate(calls):
            types = ["string", *("string" for _ in args)]
            results.append(app.remote(name, *types, results=["int64"]).delay(f"call/{number}", *args))
        assert [result.get(timeout=30) for result in results] == [expected for _, _, expected in calls]
        for result in neighbours:
            result.get(timeout=30)
    keys = [f"call/{number}" for number in range(len(calls))] + [f"neighbour/{i}" for i in range(3)]
    assert {key: len(site.runs(key)) for key in keys} == dict.fromkeys(keys, 1)
    eventually(lambda: len(site.runs("call/7/child")) == 1, what="the task that a forked process sent")
    assert site.held() == 0
    node.stop()
    log = node.tail(1 << 20)
    assert "unfinished" not in log
    assert "worker process ended" not in log


@pytest.mark.parametrize("pool", POOLS)
def test_a_signal_to_the_whole_process_group_lets_tasks_end(site: Site, rough: Rough, pool: str) -> None:
    """Like systemd's KillMode=control-group, send it to supervisor and children; the supervisor also passes it on."""
    node = rough(pool, "--grace", "20", concurrency=2)
    site.ready(2 if pool == "processes" else 1)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = [work.delay(f"task/{i}", 1500) for i in range(2)]
        eventually(lambda: site.begun() == 2)
        for pid in (node.pid, *(each.pid for each in node.children())):
            os.kill(pid, signal.SIGTERM)
        assert node.wait(60) > 0.3
        for result in results:
            result.get(timeout=60)
    assert [len(site.runs(f"task/{i}")) for i in range(2)] == [1, 1]
    assert node.code == 0
