"""The table of scenarios on a Redis cluster and behind sentinels, every way that the peers allow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gearmesh.config import RedisConfig
from gearmesh.redis_scripts.access import Access, hang_up
from gearmesh.testing.peerproc import PeerProcess, python_peer
from gearmesh.testing.servers import RedisCluster, RedisSentinels
from gearmesh.urls import RedisTarget, parse
from gearmesh.wire.names import DELAYED_TASKS

from .conftest import PEER
from .peers import Peers
from .scenarios import SCENARIOS, Scenario, Side
from .test_scenarios import Run, ids, take


@pytest.fixture(params=["cluster", "sentinel"], scope="module")
def places(request: pytest.FixtureRequest) -> Iterator[Callable[[], Peers]]:
    """Peers on a cluster, which has one database, or behind sentinels, who need to be told a name."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        if request.param == "cluster":
            cluster: RedisCluster = request.getfixturevalue("redis_cluster")
            url, settings = cluster.url, RedisConfig()
        else:
            sentinels: RedisSentinels = request.getfixturevalue("redis_sentinels")
            patch.setenv("REDIS_MASTER_NAME", sentinels.master_name)
            url, settings = f"{sentinels.url}/5", RedisConfig(master_name=sentinels.master_name)
        programs = {"go": [*PEER, "-env"], "python": python_peer("-env")}

        target = parse(url)
        assert isinstance(target, RedisTarget)
        client = Access(target, settings).client()
        stack.callback(hang_up, client)

        def make(abrupt: bool = False) -> Peers:
            # All share one database: who counts the delayed ones begins with none.
            client.delete(DELAYED_TASKS)
            return Peers(programs, lambda: url, stack, abrupt=abrupt)

        yield make


@pytest.fixture(scope="module")
def peers_there(places: Callable[..., Peers]) -> Peers:
    """Those that are shared."""
    return places()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(
    scenario: Scenario,
    client: Side,
    worker: Side,
    peers_there: Peers,
    places: Callable[..., Peers],
    request: pytest.FixtureRequest,
) -> None:
    if "cluster" not in request.node.callspec.id and not PEER and SCENARIOS.index(scenario) % 8:
        pytest.skip("behind sentinels is one Redis: without GEARMESH_PEER a few will do")
    pair = peers_there.pair(client, worker)
    fresh = places(abrupt=True)
    working: PeerProcess = pair.worker
    queue = pair.queue
    own: PeerProcess | None = None
    if scenario.worker is not None:
        queue = f"own-{uuid.uuid4().hex[:8]}"
    run = Run(queue)
    if scenario.worker is not None and not scenario.refused(client):
        flags = [run.fill(flag) for flag in scenario.worker]
        working = own = fresh.start(worker, pair.url, "-mode", "worker", "-queue", queue, *flags)
    for step, want in scenario.steps_for(client, worker):
        take(step, want, run, working if step.to == "worker" else pair.client)
    if own is not None:
        own.kill()
