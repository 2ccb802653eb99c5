"""The table of scenarios on Redis as it may be deployed, every way that the peers allow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from tests.support.servers import Certificates, RedisCluster, RedisSentinels, RedisServer

from gearmesh.config import RedisConfig
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.testing.peerproc import PeerError, PeerProcess, python_peer
from gearmesh.urls import RedisTarget, parse
from gearmesh.wire.names import DELAYED_TASKS

from .conftest import PEER
from .peers import Peers
from .scenarios import SCENARIOS, Scenario, Side, sig
from .test_scenarios import Run, ids, take


@dataclass(frozen=True)
class Place:
    """One place of a Redis. With the flag ``-env``, peers read settings beside its URL from their environment."""

    url: str
    settings: RedisConfig = field(default_factory=RedisConfig)
    environment: dict[str, str] = field(default_factory=dict)


@pytest.fixture(params=["cluster", "sentinel", "tls", "socket", "user"], scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each place, one after the other."""
    with ExitStack() as stack:
        yield _place(request.param, request, stack)


def _place(name: str, request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    if name == "cluster":
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        return Place(cluster.url)
    if name == "sentinel":
        sentinels: RedisSentinels = request.getfixturevalue("redis_sentinels")
        master = sentinels.master_name
        return Place(f"{sentinels.url}/5", RedisConfig(master_name=master), {"REDIS_MASTER_NAME": master})
    if name == "tls":
        # Go's programs trust the authorities of SSL_CERT_FILE, and show a certificate only if their code says so.
        certificates: Certificates = request.getfixturevalue("certificates")
        ca = str(certificates.ca)
        request.getfixturevalue("tls_server")  # skips where there is no server that speaks it
        server = stack.enter_context(RedisServer(tls=certificates, args=["--tls-auth-clients", "no"]))
        return Place(server.url_of(5), RedisConfig(ca=ca), {"SSL_CERT_FILE": ca, "GEARMESH_REDIS_CA": ca})
    request.getfixturevalue("redis_server")  # skips the test if there is no Redis
    if name == "socket":
        server = stack.enter_context(RedisServer(unixsocket=True, args=["--requirepass", "sesame"]))
        return Place(f"redis+socket://sesame@{server.socket_path}:/5")
    user = ("--user", "gears", "on", ">se:s@me", "~*", "&*", "+@all")
    server = stack.enter_context(RedisServer(args=[*user, "--requirepass", "root"]))
    return Place(f"redis://gears:se%3As%40me@127.0.0.1:{server.port}/5")


@pytest.fixture(scope="module")
def places(place: Place) -> Iterator[Callable[..., Peers]]:
    """Makes peers that share one database."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment.items():
            patch.setenv(name, value)
        flags = ("-env",) if place.environment else ()
        programs = {"go": [*PEER, *flags], "python": python_peer(*flags)}

        target = parse(place.url)
        assert isinstance(target, RedisTarget)
        client = ConnectionSettings(target, place.settings).client()
        stack.callback(hang_up, client)

        def make(abrupt: bool = False) -> Peers:
            # Scenarios that count delayed messages begin without any.
            client.delete(DELAYED_TASKS)
            return Peers(programs, lambda: place.url, stack, abrupt=abrupt)

        yield make


@pytest.fixture(scope="module")
def peers_there(places: Callable[..., Peers]) -> Peers:
    """The peers that several tests share."""
    return places()


@pytest.fixture(scope="module")
def go_is_lost(place: Place, places: Callable[..., Peers]) -> str:
    """Return the reason why the other implementation cannot connect there; ``""`` if it can.

    The contract of peers does not define how a peer gets settings that are not in the URL.
    """
    if not (PEER and place.environment):
        return ""
    try:
        peer = places(abrupt=True).start("go", place.url, "-mode", "client")
        answer = peer.ask(Op="send", Sig=sig("noop", RoutingKey="nobody"))
    except PeerError as exc:
        return str(exc)
    return "" if answer["OK"] else str(answer["Err"])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(
    scenario: Scenario,
    client: Side,
    worker: Side,
    place: Place,
    peers_there: Peers,
    places: Callable[..., Peers],
    go_is_lost: str,
) -> None:
    one = "," not in place.url or place.settings.master_name
    if one and not PEER and SCENARIOS.index(scenario) % 8:
        pytest.skip("this is one Redis: without GEARMESH_PEER a few will do")
    if go_is_lost and "go" in (client, worker):
        pytest.skip(f"the peer does not get there: {go_is_lost}")
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
