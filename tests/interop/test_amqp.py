"""The table of scenarios with RabbitMQ as the broker, every way that the peers allow."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gearmesh.testing.peerproc import PeerProcess, python_peer

from .amqp import ALONE, TABLE, Backend, steps_for
from .peers import Peers
from .scenarios import Json, Scenario, Side, i64, sig
from .test_scenarios import Run, ids, take


@pytest.fixture(scope="session")
def results_redis(fresh_url: Callable[[], str]) -> str:
    """One Redis database for the results of all: their ids are unique."""
    return fresh_url()


@pytest.mark.parametrize("scenario", TABLE, ids=ids)
@pytest.mark.parametrize("backend", ["amqp", "redis"])
def test_scenario(
    scenario: Scenario,
    backend: Backend,
    client: Side,
    worker: Side,
    peers: Peers,
    start_peer: Callable[..., PeerProcess],
    fresh_vhost: Callable[[], str],
    results_redis: str,
) -> None:
    backend_url = results_redis if backend == "redis" else ""
    if scenario.name in ALONE:
        url, queue = fresh_vhost(), "queue"
        flags = ("-backend", backend_url or url)
        asked = start_peer(client, url, "-mode", "client", "-queue", queue, *flags)
    else:
        pair = peers.pair(client, worker, backend_url, fresh_vhost)
        asked, working, url, queue = pair.client, pair.worker, pair.url, pair.queue
        flags = ("-backend", backend_url or url)
        if scenario.worker is not None:
            queue = f"own-{uuid.uuid4().hex[:8]}"
    run = Run(queue)
    if scenario.worker is not None and not scenario.refused(client):
        own = [run.fill(flag) for flag in scenario.worker]
        working = start_peer(worker, url, "-mode", "worker", "-queue", queue, *flags, *own)
    for step, want in steps_for(scenario, backend, client, worker):
        take(step, want, run, working if step.to == "worker" else asked)


@pytest.fixture(scope="module")
def both_in_one(fresh_vhost: Callable[[], str]) -> Iterator[Callable[..., PeerProcess]]:
    """Starts a peer that is client and worker, with results in its own memory; the one without flags is shared."""
    with ExitStack() as stack:
        made: dict[tuple[str, ...], PeerProcess] = {}

        def both(*flags: str) -> PeerProcess:
            peer = made.get(flags)
            if peer is None:
                command = [
                    *python_peer(),
                    "-mode",
                    "both",
                    "-broker",
                    fresh_vhost(),
                    "-backend",
                    "memory://peer",
                ]
                peer = made[flags] = stack.enter_context(PeerProcess([*command, *flags]))
            return peer

        yield both


@pytest.mark.parametrize("scenario", TABLE, ids=ids)
def test_with_results_in_memory(scenario: Scenario, both_in_one: Callable[..., PeerProcess]) -> None:
    """Results in memory work in a single process only."""
    run = Run(f"own-{uuid.uuid4().hex[:8]}" if scenario.worker is not None else "machinery_tasks")
    own = () if scenario.worker is None else ("-queue", "{queue}", *scenario.worker)
    peer = both_in_one(*map(run.fill, own))
    for step, want in steps_for(scenario, "redis", "python", "python"):
        take(step, want, run, peer)


CHORDS, MEMBERS = 40, 8


@pytest.mark.peer
@pytest.mark.parametrize("sender", ["go", "python"])
@pytest.mark.parametrize("backend", ["amqp", "redis"])
def test_chords_of_two_kinds_of_workers_fire_once(
    sender: Side,
    backend: Backend,
    start_peer: Callable[..., PeerProcess],
    fresh_vhost: Callable[[], str],
    results_redis: str,
) -> None:
    """Go and Python take members of the same groups; the last two often end at the same time."""
    url = fresh_vhost()
    flags = ("-backend", results_redis if backend == "redis" else url)
    client = start_peer(sender, url, "-mode", "client", *flags)
    for side in ("go", "python"):
        start_peer(side, url, "-mode", "worker", "-concurrency", "4", *flags)
    watcher = start_peer("python", url, "-mode", "client", *flags)
    for _ in range(CHORDS):
        members = [sig("add", i64(n)) for n in range(MEMBERS)]
        client.ask(
            {"Op": "chord", "Sigs": members, "Callback": sig("add", RoutingKey="callbacks"), "TimeoutMs": 1}
        )

    def callbacks() -> list[Json]:
        found = watcher.ask({"Op": "pending", "Queue": "callbacks"})["Sigs"]
        assert isinstance(found, list)
        return found

    deadline = time.monotonic() + 30
    while len(callbacks()) < CHORDS and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # a second one would come now
    fired = [each["UUID"] for each in callbacks()]
    assert len(set(fired)) == CHORDS, f"{CHORDS - len(set(fired))} chords did not fire"
    assert len(fired) == CHORDS, f"{len(fired) - CHORDS} callbacks were sent twice"
    for each in callbacks():
        assert sorted(arg["Value"] for arg in each["Args"]) == list(range(MEMBERS))
