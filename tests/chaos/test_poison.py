"""Tasks that kill their process become dead letters after three deaths alone; other tasks do not."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress

import psutil
import pytest

from gearmesh import App, TaskFailed
from gearmesh.testing.waiting import eventually

from .harness import KEYS, Site
from .producers import remote_tasks
from .rough import Rough

REASON = "its process died 3 times while it ran alone"
#: MiB from which on the test kills a process, as the system does when there is no more.
TOO_MUCH = 256


def check_the_end(site: Site, app: App, culprit: str, uuid: str) -> None:
    """The culprit is the only dead letter, and its callers know."""
    with pytest.raises(TaskFailed, match=REASON):
        app.result(uuid).get(timeout=30)
    (letter,) = site.dead()
    assert letter[b"reason"] == REASON.encode()
    assert uuid.encode() in letter[b"body"]
    assert 3 <= len(site.runs(culprit)) <= 4, "three alone, and perhaps one among others before"
    eventually(lambda: not site.open(), what="everything settled")
    assert not site.broker.exists(KEYS.recovered), "Redis counts no more losses of the message"


@pytest.mark.parametrize("pool", ["threads", "asyncio", "processes"])
def test_a_task_that_ends_its_process(site: Site, rough: Rough, pool: str) -> None:
    rough(pool)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        others = app.publish_many(work.s(f"other/{i}", 1) for i in range(500))
        culprit = app.remote("die", "string").delay("culprit")
        others += app.publish_many(work.s(f"other/{i}", 1) for i in range(500, 1000))
        eventually(lambda: site.states([each.uuid for each in others]) == ["SUCCESS"] * 1000, 60)
        check_the_end(site, app, "culprit", culprit.uuid)
    again = sum(len(site.runs(f"other/{i}")) - 1 for i in range(1000))
    assert again < 30, "only tasks that ran beside it at its first death, or had no commit yet, ran twice"


def test_a_task_that_eats_memory(site: Site, rough: Rough) -> None:
    node = rough("processes", "--max-memory-per-child", str(TOO_MUCH // 2), concurrency=2)
    over = threading.Event()

    def kill_the_greedy() -> None:
        while not over.wait(0.02):
            with suppress(psutil.Error):
                for child in node.children():
                    if child.memory_info().rss > TOO_MUCH << 20:
                        child.kill()

    watchdog = threading.Thread(target=kill_the_greedy)
    watchdog.start()
    try:
        with App(site.url(), site.url()) as app:
            work = remote_tasks(app)["work"]
            culprit = app.remote("eat", "string", "int64").delay("culprit", TOO_MUCH + 50)
            others = app.publish_many(work.s(f"other/{i}", 1) for i in range(1000))
            eventually(lambda: site.states([each.uuid for each in others]) == ["SUCCESS"] * 1000, 60)
            check_the_end(site, app, "culprit", culprit.uuid)
    finally:
        over.set()
        watchdog.join()
    assert all(len(site.runs(f"other/{i}")) == 1 for i in range(1000)), "a process runs one task at a time"


def test_neighbours_are_cleared(site: Site, rough: Rough) -> None:
    """The neighbours run beside the task when its process dies; then each runs alone and survives."""
    rough("threads")
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        neighbours = [work.delay(f"neighbour/{i}", 1000) for i in range(3)]
        eventually(lambda: all(site.runs(f"neighbour/{i}") for i in range(3)))
        culprit = app.remote("die", "string").delay("culprit")
        for neighbour in neighbours:
            neighbour.get(timeout=30)
        check_the_end(site, app, "culprit", culprit.uuid)
    assert [len(site.runs(f"neighbour/{i}")) for i in range(3)] == [2] * 3
    second = sorted(site.runs(f"neighbour/{i}")[1].at for i in range(3))
    assert all(later - sooner >= 0.99 for sooner, later in itertools.pairwise(second)), "one by one"
    assert len(site.runs("culprit")) == 4, "its death in company did not count"


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_good_tasks_go_on_beside_three_that_crash(site: Site, rough: Rough, pool: str) -> None:
    """The supervisor pauses only before it restarts a process that failed to start, not one that a task has killed."""
    rough(pool, concurrency=4)
    site.ready(4 if pool == "processes" else 1)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        began = time.monotonic()
        good = app.publish_many(work.s(f"good/{i}", 50) for i in range(60))
        culprits = [app.remote("segfault", "string").delay(f"culprit/{i}") for i in range(3)]
        good += app.publish_many(work.s(f"good/{i}", 50) for i in range(60, 120))
        eventually(lambda: site.states([each.uuid for each in good]) == ["SUCCESS"] * 120, 60)
        took = time.monotonic() - began
        for culprit in culprits:
            with pytest.raises(TaskFailed, match=REASON):
                culprit.get(timeout=60)
    print(f"\n120 good tasks of 50 ms beside three that crash, pool {pool}: {took:.1f} s", end=" ")
    assert took < 40


def test_good_tasks_go_before_one_that_has_died_alone(site: Site, rough: Rough) -> None:
    """A SIGKILL counts as a quarter of a death: without that, they would wait for all of a dozen attempts."""
    rough("threads", concurrency=4)
    site.ready(1)
    with App(site.url(), site.url()) as app:
        work = remote_tasks(app)["work"]
        kill_itself = app.remote("kill_itself", "string")
        # In one batch: a worker that starts again before the good tasks are there runs the culprit alone, rightly.
        culprit, *good = app.publish_many(
            [kill_itself.s("culprit"), *(work.s(f"good/{i}", 50) for i in range(200))]
        )
        eventually(lambda: site.states([each.uuid for each in good]) == ["SUCCESS"] * 200, 60)
        assert len(site.runs("culprit")) <= 5, "two in company, one alone, and it may have begun once more"
        assert not culprit.ready()
