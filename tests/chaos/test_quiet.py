"""What a worker costs while there is nothing for it to do."""

from __future__ import annotations

import time
from uuid import uuid4

from gearmesh import App

from .harness import Site
from .nodes import eventually
from .producers import QUEUE, go_signature, remote_tasks


def test_an_idle_worker_hardly_asks(site: Site) -> None:
    """Under 4 commands a second, and under 0.5 % of one CPU for supervisor and child together."""
    node = site.node(lease=30.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        assert remote_tasks(app)["work"].delay("first", 0).get(timeout=10) == "first"
    time.sleep(1.0)  # the start is not idleness
    seconds = 8.0
    cpu = node.cpu()
    commands = site.commands(seconds)
    cpu = node.cpu() - cpu
    print(f"idle: {len(commands) / seconds:.1f} commands/s, {cpu / seconds:.2%} CPU")
    assert len(commands) / seconds < 4, commands
    assert cpu / seconds < 0.005


def test_unregistered_tasks_are_set_aside(site: Site) -> None:
    """1,000 of a name that nobody has beside 1,000 good ones."""
    node = site.node(concurrency=4)
    site.ready()
    good = 1000
    began = time.monotonic()
    with App(site.url(), site.url()) as app:
        quick = remote_tasks(app)["quick"]
        batch = [go_signature(f"task_{uuid4()}", "nobody_has_this", []) for _ in range(1000)]
        site.broker.rpush(QUEUE, *batch)
        app.publish_many(quick.s(f"good/{number}") for number in range(good))
    eventually(lambda: site.counts.dbsize() == good, 20)
    print(f"{good} good ones in {time.monotonic() - began:.2f} s")
    eventually(lambda: site.broker.llen(QUEUE) == 0 and not site.held(), 20)
    # Rounds double from 50 ms: wait until the pauses are seconds.
    time.sleep(8)
    seconds = 10.0
    commands = site.commands(seconds)
    print(f"set aside: {len(commands) / seconds:.1f} commands/s")
    assert len(commands) / seconds < 20
    assert site.open() == 1000, "nothing is lost"
    assert not site.dead()
    assert node.running
