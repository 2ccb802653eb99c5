"""The pool of processes: children start and end, and senders and other workers do not notice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from gearmesh import App, TaskFailed
from gearmesh.testing.waiting import eventually

from .harness import Run, Site
from .producers import remote_tasks
from .rough import Rough, RoughNode


def test_the_death_of_one_does_not_disturb_the_others(site: Site, rough: Rough) -> None:
    node = rough("processes", concurrency=3)
    site.ready(3)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = [work.delay(f"task/{i}", 2000) for i in range(3)]
        eventually(lambda: all(site.runs(f"task/{i}") for i in range(3)))
        (victim,) = site.runs("task/0")
        before = {each.pid for each in node.children()}
        next(each for each in node.children() if each.pid == victim.pid).kill()
        killed = time.monotonic()
        eventually(lambda: len(site.runs("task/0")) == 2)
        assert site.runs("task/0")[1].at - killed < 20
        for result in results:
            result.get(timeout=20)
    after = {each.pid for each in node.wait_for_children(3)}
    assert before - after == {victim.pid}
    assert [len(site.runs(f"task/{i}")) for i in range(3)] == [2, 1, 1]


def test_a_process_is_replaced_after_so_many_tasks(site: Site, rough: Rough) -> None:
    rough("processes", "--max-tasks-per-child", "7", concurrency=2)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = app.publish_many(work.s(f"task/{i}", 1) for i in range(50))
        for result in results:
            result.get(timeout=60)
    runs = [site.runs(f"task/{i}") for i in range(50)]
    assert all(len(each) == 1 for each in runs)
    shares = Counter(run.pid for (run,) in runs)
    assert max(shares.values()) == 7
    assert not site.dead()


def test_threads_are_replaced_after_so_many_tasks(site: Site, rough: Rough) -> None:
    rough("threads", "--max-tasks-per-child", "20", concurrency=4)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        for result in app.publish_many(work.s(f"task/{i}", 5) for i in range(60)):
            result.get(timeout=60)
    runs = [site.runs(f"task/{i}") for i in range(60)]
    assert all(len(each) == 1 for each in runs)
    assert len({run.pid for (run,) in runs}) >= 3


def test_a_process_with_too_much_memory_is_replaced(site: Site, rough: Rough) -> None:
    rough("processes", "--max-memory-per-child", "200", concurrency=1)
    with App(site.url(), site.url()) as app:
        runs: list[list[Run]] = []
        while len(runs) < 4 or (len(runs) < 12 and len({run.pid for each in runs for run in each}) < 3):
            key = f"task/{len(runs)}"
            app.remote("grow", "string", "int64").delay(key, 170).get(timeout=60)
            runs.append(site.runs(key))
            time.sleep(0.7)  # it is looked at twice a second, on a busy machine more rarely
    runs = [site.runs(f"task/{i}") for i in range(len(runs))]
    assert all(len(each) == 1 for each in runs)
    assert len({run.pid for (run,) in runs}) >= 3


def test_a_hard_limit(site: Site, rough: Rough) -> None:
    node = rough("processes", "--hard-limit", "2", concurrency=2)
    site.ready(2)
    with App(site.url(), site.url()) as app:
        hang, work = app.remote("hang", "string"), remote_tasks(app)["work"]
        mourn = app.remote("mourn", "string", "string")
        began = time.monotonic()
        result = hang.s("hang").on_error(mourn.s("mourner")).apply_async()
        beside = app.publish_many(work.s(f"task/{i}", 50) for i in range(20))
        with pytest.raises(TaskFailed, match=r"hard time limit of 2 s exceeded"):
            result.get(timeout=60)
        assert time.monotonic() - began >= 2
        for each in beside:
            each.get(timeout=60)
        eventually(lambda: site.runs("mourner"))
    eventually(lambda: not site.open())
    assert [len(site.runs(key)) for key in ("hang", "mourner")] == [1, 1]
    assert [len(site.runs(f"task/{i}")) for i in range(20)] == [1] * 20
    assert not site.dead()
    assert node.running


def test_a_hard_limit_is_an_error_that_is_retried(site: Site, rough: Rough) -> None:
    rough("processes", "--hard-limit", "0.4", concurrency=1)
    with App(site.url(), site.url()) as app:
        result = app.remote("hang", "string").apply_async(("hang",), retry_count=1)
        with pytest.raises(TaskFailed, match="hard time limit"):
            result.get(timeout=20)
    assert len(site.runs("hang")) == 2


def test_threads_cannot_keep_a_hard_limit(site: Site, rough: Rough) -> None:
    node = rough("threads", "--hard-limit", "5")
    eventually(lambda: not node.running)
    assert node.code
    assert "hard_limit is 5, expected --pool processes with it" in node.tail()


def test_sigterm_lets_all_children_finish(site: Site, rough: Rough) -> None:
    node = rough("processes", concurrency=3)
    site.ready(3)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        results = app.publish_many(work.s(f"task/{i}", 400) for i in range(20))
        eventually(lambda: len([i for i in range(20) if site.runs(f"task/{i}")]) >= 3)
        assert node.stop() < 20, "less than the grace"
        assert node.code == 0
        assert site.held() == 0
        rough("processes", concurrency=3)
        for result in results:
            result.get(timeout=30)
    assert [len(site.runs(f"task/{i}")) for i in range(20)] == [1] * 20


def test_a_second_sigterm_ends_all_children_now(site: Site, rough: Rough) -> None:
    node = rough("processes", concurrency=3)
    site.ready(3)
    with App(site.url(), site.url()) as app:
        app.publish_many(app.remote("hang", "string").s(f"hang/{i}") for i in range(3))
        eventually(lambda: all(site.runs(f"hang/{i}") for i in range(3)))
        node.signal(signal.SIGTERM)
        eventually(lambda: "stopping" in node.tail())
        node.signal(signal.SIGTERM)
        eventually(lambda: not node.running, 20)
        assert node.code == 0
    assert site.broker.llen("machinery_tasks") == 3, "the queue has all messages again"


def test_a_broker_that_is_away_ends_nobody(durable_site: Site, tmp_path: Path) -> None:
    site = durable_site
    node = RoughNode(site, tmp_path / "rough.log", "processes", concurrency=2)
    site.nodes.append(node)
    try:
        node.start()
        site.ready(2)
        children = {each.pid for each in node.children()}
        with App(site.url(), site.url()) as app:
            work = remote_tasks(app)["work"]
            for how in ("stopped", "frozen"):
                results = [work.delay(f"{how}/{i}", 1500) for i in range(2)]
                eventually(lambda how=how: all(site.runs(f"{how}/{i}") for i in range(2)))  # type: ignore[misc]
                (site.server.kill if how == "stopped" else site.server.pause)()
                time.sleep(4)  # longer than the lease
                (site.server.start if how == "stopped" else site.server.resume)()
                for result in results:
                    result.get(timeout=20)
        assert {each.pid for each in node.children()} == children
        for how in ("stopped", "frozen"):
            assert [len(site.runs(f"{how}/{i}")) for i in range(2)] == [1, 1]
    finally:
        node.close()


def test_an_unreachable_broker_is_named_at_start_or_waited_for(
    site: Site, rough: Rough, tmp_path: Path
) -> None:
    site.server.kill()
    hasty = RoughNode(site, tmp_path / "hasty.log", "threads")
    hasty._command.remove("--wait-for-broker")
    hasty.start()
    eventually(lambda: not hasty.running)
    assert hasty.code
    assert f"127.0.0.1:{site.server.port}" in hasty.tail()
    assert "cannot be reached" in hasty.tail()
    patient = rough("threads")
    eventually(lambda: "waiting" in patient.tail())
    site.server.start()
    with App(site.url(), site.url()) as app:
        assert remote_tasks(app)["work"].delay("at last", 0).get(timeout=20) == "at last"
