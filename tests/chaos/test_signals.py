"""SIGTERM: the first lets running tasks end, the second leaves at once; neither loses a task."""

from __future__ import annotations

import signal

from gearmesh import App
from gearmesh.testing.waiting import eventually

from .harness import Site, account
from .producers import Sent, remote_tasks


def publish(app: App, prefix: str, count: int, ms: int) -> Sent:
    """``count`` tasks of ``ms`` milliseconds each."""
    work = remote_tasks(app)["work"]
    keys = [f"{prefix}/{number}" for number in range(count)]
    results = app.publish_many(work.s(key, ms) for key in keys)
    return Sent(tasks={key: result.uuid for key, result in zip(keys, results, strict=True)})


def test_sigterm_under_load(site: Site) -> None:
    grace = 10.0
    node = site.node(concurrency=8, grace=grace)
    site.ready()
    with App(site.url(), site.url()) as app:
        sent = publish(app, "load", 2000, 5)
    eventually(lambda: site.begun() > 300)
    took = node.stop()
    assert node.code == 0
    assert took < grace
    assert 300 < site.begun() < 2000, "there was still load"
    assert site.held() == 0
    assert not site.consumers(), "a worker that stops in order leaves no consumer name behind"
    site.node(concurrency=8)
    eventually(lambda: not site.open() and site.begun() == 2000, 60)
    report = account(site, sent)
    report.check()
    assert not report.doubled


def test_tasks_not_begun_before_a_stop_keep_their_order(site: Site) -> None:
    node = site.node(concurrency=1)
    site.ready()
    with App(site.url(), site.url()) as app:
        sent = publish(app, "order", 100, 15)
    eventually(lambda: site.begun() > 20)
    node.stop()
    site.node(concurrency=1)
    eventually(lambda: not site.open() and site.begun() == 100, 60)
    runs = sorted((site.runs(key)[0].at, number) for number, key in enumerate(sent.tasks))
    assert [number for _, number in runs] == list(range(100))


def test_running_tasks_end_within_the_grace_time(site: Site) -> None:
    node = site.node(concurrency=4, grace=10.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        sent = publish(app, "long", 4, 2000)
    eventually(lambda: site.begun() == 4)
    assert 0.5 < node.stop() < 6
    report = account(site, sent)
    report.check()
    assert not report.doubled


def test_another_node_runs_tasks_that_outlast_the_grace_time(site: Site) -> None:
    node = site.node(concurrency=2, grace=1.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        sent = publish(app, "long", 2, 4000)
    eventually(lambda: site.begun() == 2)
    other = site.node(concurrency=2)
    assert node.stop() < 4
    assert node.code == 0
    eventually(lambda: site.states(list(sent.tasks.values())) == ["SUCCESS"] * 2)
    assert [len(site.runs(key)) for key in sent.tasks] == [2, 2]
    assert other.running


def test_a_second_sigterm_loses_nothing(site: Site) -> None:
    node = site.node(concurrency=4, grace=30.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        sent = publish(app, "twice", 40, 1000)
    eventually(lambda: site.begun() >= 4)
    node.signal(signal.SIGTERM)
    eventually(lambda: "stopping" in node.tail(), what="the first signal")
    node.signal(signal.SIGTERM)
    assert node.stop() < 5
    assert node.code == 0
    assert site.held() == 0
    begun = site.begun()
    site.node(concurrency=40)
    eventually(lambda: not site.open() and site.begun() == 40, 30)
    report = account(site, sent)
    assert not report.lost
    assert not report.stuck
    assert len(report.doubled) <= 4, "only running tasks ran twice"
    assert begun <= 8
