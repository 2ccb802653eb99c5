"""The storm on Google Pub/Sub: workers killed, connections cut, the emulator frozen for longer than a lease.

The emulator keeps its messages in memory, so it cannot be restarted as the real service's machines are: SIGSTOP and
SIGCONT, and a proxy that cuts, stand for an outage. It also takes any acknowledgement of a message, and the real
service none of a delivery whose lease has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer, RedisServer

from gearmesh import App
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

from ..crashes import DIED_ALONE, await_a_hard_limit, await_a_task_that_ends_its_process
from ..cut_storms import CutSite, CutStorm, weather
from ..nodes import Node
from ..producers import QUEUE, go_signature, remote_tasks
from ..rough import Rough
from ..test_storm import seed_of_this_run

#: Seconds: the shortest lease of Pub/Sub.
LEASE = 10.0
DEAD = "dead-letters"
#: The most that Pub/Sub allows.
MAX_ATTEMPTS = 100


class PubSubSite(CutSite):
    """A site with Pub/Sub as the broker; states are in a Redis that no fault touches."""

    def __init__(
        self, folder: Path, emulator: PubSubServer, counter: RedisServer, patch: pytest.MonkeyPatch
    ) -> None:
        super().__init__(folder, emulator, counter)
        self.emulator = emulator
        self._patch = patch
        patch.setenv("PUBSUB_EMULATOR_HOST", emulator.address)
        self.project = PubSubProject()
        self.project.queue(DEAD)
        policy = {
            "dead_letter_topic": self.project.addresses.topic(DEAD),
            "max_delivery_attempts": MAX_ATTEMPTS,
        }
        self._url = self.project.queue(QUEUE, "workers", dead_letter_policy=policy)

    def url(self, proxy: Proxy | None = None) -> str:
        """The same URL for all; programs that are made from now on go through ``proxy``."""
        port = self.emulator.port if proxy is None else proxy.port
        self._patch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
        return self._url

    def ready(self, count: int | None = None) -> None:
        """Wait until that many workers say that they consume."""
        wanted = len(self.nodes) if count is None else count
        eventually(lambda: sum(_consumes(node) for node in self.nodes) >= wanted, 60, f"{wanted} consumers")

    def open(self) -> int:
        """Nothing: Pub/Sub does not count."""
        return 0

    def letters(self) -> list[DeadLetter]:
        found = self.project.take(DEAD)
        return [
            DeadLetter(
                queue=QUEUE,
                body=each.data,
                reason=each.attributes.get("gearmesh-reason", ""),
                count=1,
                first=0.0,
                last=0.0,
            )
            for each in found
        ]


def _consumes(node: Node) -> bool:
    return b"consuming from" in node.log.read_bytes()


class PubSubStorm(CutStorm):
    """Kills as on Redis; connections are cut; now and then the emulator stands still, once for longer than a lease."""

    def __init__(self, site: PubSubSite, seed: int, *, longest: float) -> None:
        super().__init__(site, seed)
        self._emulator = site.emulator
        self._longest = longest
        now = time.monotonic()
        self._plan = [
            (now + 1.0, 1.5, self._kill),
            (now + 3.0, 12.0, self._freeze),
            (now + 0.7, 0.7, self._cut),
        ]

    def _freeze(self) -> str:
        self.cuts.append(time.monotonic())
        seconds = self._random.uniform(0.2, self._longest)
        self._emulator.pause()
        time.sleep(seconds)
        self._emulator.resume()
        self.cuts.append(time.monotonic())
        return "emulator frozen, longer than a lease" if seconds > LEASE else "emulator frozen"


@pytest.fixture
def site(
    tmp_path: Path,
    make_pubsub: Callable[..., PubSubServer],
    make_redis: Callable[..., RedisServer],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[PubSubSite]:
    with PubSubSite(tmp_path, make_pubsub(), make_redis(), monkeypatch) as site:
        yield site


def storm(site: PubSubSite, *, longest: float, **size: Any) -> None:
    seed = seed_of_this_run()
    weather(site, lambda: PubSubStorm(site, seed, longest=longest), seed, **size)


@pytest.mark.timeout(300)
def test_short(site: PubSubSite) -> None:
    """Some 600 tasks, 8 s of faults."""
    storm(site, nodes=2, tasks=400, seconds=8.0, workflows=1, longest=1.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long(site: PubSubSite) -> None:
    """Three workers, 5,000 tasks and more in chains and chords; the emulator stands still for up to 15 s."""
    storm(site, nodes=3, tasks=5000, seconds=90.0, workflows=5, longest=15.0)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_task_that_runs_for_several_leases_runs_once(site: PubSubSite) -> None:
    """The lease of the subscription is 10 s and the task takes 35 s, while a second worker has free slots."""
    for _ in range(2):
        site.node(lease=10.0)
    site.ready()
    with App(site.url(), site.backend) as app:
        result = remote_tasks(app)["work"].s("long", 35_000).apply_async()
        assert result.get(timeout=60) == "long"
    assert len(site.runs("long")) == 1


@pytest.mark.timeout(120)
def test_an_eta_survives_the_death_of_the_worker_that_held_it(site: PubSubSite) -> None:
    holder = site.node()
    site.ready()
    with App(site.url(), site.backend) as app:
        quick = remote_tasks(app)["quick"]
        due = time.time() + 12
        late = quick.s("late").set(eta=datetime.fromtimestamp(due, timezone.utc)).apply_async()
        quick.s("now").apply_async().get(timeout=20)
        time.sleep(1)  # the delayed one was pulled with it, or soon after
        holder.kill_both()
        site.node()
        late.get(timeout=40)
        (run,) = site.runs("late")
    assert time.time() - (time.monotonic() - run.at) >= due - 0.05
    assert run.pid != next(iter(holder.killed), None)


@pytest.mark.timeout(120)
def test_poison_among_good_messages_never_wedges(site: PubSubSite) -> None:
    """300 poison messages, undecodable and unregistered, among 300 good ones: more than a worker may hold."""
    publishes = []
    for number in range(300):
        body = b"\x00 no signature" if number % 2 else go_signature(f"task_{number}", "unknown", [])
        publishes.append(Publish(QUEUE, body + b" " * number))
        publishes.append(
            Publish(QUEUE, go_signature(f"task_good{number}", "quick", [("string", f"good/{number}")]))
        )
    with open_connection(site.url()) as connection:
        connection.channel().commit([Commit(publishes=tuple(publishes))])
    site.node()
    eventually(lambda: all(site.runs(f"good/{number}") for number in range(300)), 60)
    assert all(len(site.runs(f"good/{number}")) == 1 for number in range(300))
    found: list[DeadLetter] = []

    def undecodable_are_dead() -> bool:
        found.extend(site.letters())
        return sum("undecodable" in each.reason for each in found) == 150

    eventually(undecodable_are_dead, 30)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process(site: PubSubSite, rough: Rough) -> None:
    """The supervisor finds the running task in its journal and publishes the message again with a crash count."""
    rough("threads")
    rough("processes", concurrency=2)
    site.ready(2)
    await_a_task_that_ends_its_process(site, others=200)
    letters: list[DeadLetter] = []
    eventually(lambda: letters.extend(site.letters()) or letters)
    assert [letter.reason for letter in letters] == [DIED_ALONE]


@pytest.mark.timeout(120)
def test_a_hard_limit(site: PubSubSite, rough: Rough) -> None:
    rough("processes", "--hard-limit", "0.5", concurrency=2)
    site.ready(1)
    await_a_hard_limit(site)
    assert [len(site.runs(key)) for key in ("hang", "mourner")] == [1, 1]
    assert not site.letters()
