"""An idle worker costs next to nothing."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from gearmesh import App
from gearmesh.testing.waiting import eventually

from .harness import KEYS, Site
from .producers import QUEUE, go_signature, remote_tasks

UNKNOWN = 1000


@pytest.mark.parametrize("seconds", [6.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_an_idle_worker_hardly_asks(site: Site, seconds: float) -> None:
    """Under 4 commands a second, and under 0.5 % of one CPU for supervisor and child together."""
    node = site.node(lease=30.0)
    site.ready()
    with App(site.url(), site.url()) as app:
        assert remote_tasks(app)["work"].delay("first", 0).get(timeout=10) == "first"
    time.sleep(1.0)  # the start is not idleness
    cpu = node.cpu()
    commands = site.commands(seconds)
    cpu = node.cpu() - cpu
    print(f"idle: {len(commands) / seconds:.1f} commands/s, {cpu / seconds:.2%} CPU")
    assert len(commands) / seconds < 4, commands
    assert cpu / seconds < 0.005


def pause(site: Site) -> float:
    """Seconds until the first parked message returns; below zero while some are elsewhere."""
    first = site.broker.zrange(KEYS.aside, 0, 0, withscores=True)
    if site.broker.zcard(KEYS.aside) < UNKNOWN or not first:  # type: ignore[operator]
        return -1.0
    seconds, micros = site.broker.time()  # type: ignore[misc]
    return float(first[0][1]) / 1000 - seconds - micros / 1e6  # type: ignore[index]


def set_aside(site: Site) -> None:
    """Send 1,000 messages of an unregistered task beside 1,000 good ones, which run meanwhile."""
    good = 1000
    began = time.monotonic()
    with App(site.url(), site.url()) as app:
        quick = remote_tasks(app)["quick"]
        site.broker.rpush(QUEUE, *(go_signature(f"task_{uuid4()}", "nobody", []) for _ in range(UNKNOWN)))
        app.publish_many(quick.s(f"good/{number}") for number in range(good))
    eventually(lambda: site.begun() == good, 60)
    print(f"{good} good ones in {time.monotonic() - began:.2f} s")


def test_unregistered_tasks_are_set_aside(site: Site) -> None:
    node = site.node()
    site.ready()
    set_aside(site)
    seconds = 2.5
    eventually(lambda: pause(site) > seconds + 0.5, 60, "a longer pause")
    commands = site.commands(seconds)
    print(f"parked: {len(commands) / seconds:.1f} commands/s")
    assert len(commands) / seconds < 20
    assert site.open() == UNKNOWN, "nothing is lost"
    assert not site.dead()
    assert node.running


@pytest.mark.slow
def test_unregistered_tasks_return_in_batches(site: Site) -> None:
    """A whole round, out and back in, once the pauses are half a minute."""
    site.node(lease=30.0)
    site.ready()
    set_aside(site)
    eventually(lambda: pause(site) > 20, 60, "a pause of half a minute")
    seconds = 30.0
    commands = site.commands(seconds)
    print(f"parked: {len(commands) / seconds:.1f} commands/s in a whole round")
    assert len(commands) / seconds < 20
    assert site.open() == UNKNOWN
