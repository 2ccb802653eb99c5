"""Everything at once."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence

import pytest

from .harness import Holders, Report, Site, Storm, account
from .producers import AppProducer, GoProducer, Sent

LEASE = 3.0


def seed_of_this_run() -> int:
    return int(os.environ.get("GEARMESH_CHAOS_SEED") or random.randrange(1_000_000))


def settled(site: Site, uuids: list[str], patience: float) -> bool:
    """Wait until every task has succeeded and no message is left; False if nothing moves for ``patience`` s."""
    last: tuple[int, int, int] | None = None
    deadline = 0.0
    while True:
        left = sum(word != "SUCCESS" for word in site.states(uuids))
        now = (site.open(), left, site.begun())
        if now[:2] == (0, 0):
            return True
        if now != last:
            last, deadline = now, time.monotonic() + patience
        elif time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def weather(
    site: Site,
    seed: int,
    *,
    skews: Sequence[float],
    tasks: int,
    seconds: float,
    workflows: int,
    apart: bool,
    only_kills: bool = False,
) -> Report:
    """Send ``tasks`` within ``seconds`` while faults happen, then wait until all is done.

    ``apart``: each worker is as if on a machine of its own, so that only its silence tells that it is dead.
    """
    print(f"\nseed {seed}")
    began = time.monotonic()
    sent = Sent()
    for skew in skews:
        site.node(site.proxy(), apart=apart, skew=skew, lease=LEASE)
    site.ready()
    half = tasks // 2
    producers = [
        GoProducer(site.server.port, seed + 1, half, seconds),
        AppProducer(site.url(site.proxy()), seed + 2, half, seconds, workflows),
    ]
    storm = Storm(site, seed, only_kills=only_kills)
    holders = Holders(site, LEASE)
    holders.start()
    for producer in producers:
        producer.start()
    while any(producer.is_alive() for producer in producers):
        storm.tick()
    storm.calm()
    for producer in producers:
        producer.join()
        sent.merge(producer.sent)
    for node in site.nodes:
        if not node.running:
            node.start()
    certain = [uuid for key, uuid in sent.tasks.items() if key not in sent.unsure]
    if not settled(site, certain, patience=max(skews) + 3 * LEASE + 15):
        print("nothing moves any more")
    holders.stop()
    report = account(site, sent, seed, holders)
    report.faults = storm.count
    report.seconds = time.monotonic() - began
    print(report)
    try:
        report.check()
    except AssertionError:
        site.show_logs()
        raise
    return report


machines = pytest.mark.parametrize("apart", [False, True], ids=["one machine", "machines apart"])


@machines
@pytest.mark.timeout(300)
def test_short(durable_site: Site, apart: bool) -> None:
    """Some 2,000 tasks, 15 s of faults. No clock runs ahead: a retry would wait a minute, as the wire says."""
    weather(
        durable_site,
        seed_of_this_run(),
        skews=(0.0, -60.0, -60.0),
        tasks=1500,
        seconds=15.0,
        workflows=3,
        apart=apart,
    )


@pytest.mark.slow
@machines
@pytest.mark.timeout(1800)
def test_long(durable_site: Site, apart: bool) -> None:
    """Four workers, 20,000 tasks and more in chains and chords. An orphan runs again within the lease and 2 s."""
    report = weather(
        durable_site,
        seed_of_this_run(),
        skews=(0.0, 60.0, -60.0, 0.0),
        tasks=20_000,
        seconds=120.0,
        workflows=20,
        apart=apart,
    )
    assert max(report.orphans)[0] < LEASE + 2, report


@pytest.mark.slow
@machines
@pytest.mark.timeout(600)
def test_orphans_of_many_kills(durable_site: Site, apart: bool) -> None:
    """With Redis, the network and one worker well, each orphan runs again within the lease and 2 s."""
    report = weather(
        durable_site,
        seed_of_this_run(),
        skews=(0.0, -60.0, -60.0, 0.0),
        tasks=3000,
        seconds=30.0,
        workflows=3,
        apart=apart,
        only_kills=True,
    )
    assert report.orphans
    assert max(report.orphans)[0] < LEASE + 2, report
