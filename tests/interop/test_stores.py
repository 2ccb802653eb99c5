"""The table of scenarios with Redis as the broker and another result backend, every way that the peers allow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest
from tests.support.servers import MemcachedServer, MongoServer

from gearmesh.backends.registry import open_backend
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.wire.state import PENDING, SUCCESS, TaskState

from .conftest import SIDES
from .peers import Peers
from .scenarios import SCENARIOS, Scenario, Side, i64, ok, sig, text
from .stores import Store, skipped, steps_for
from .test_scenarios import Run, ids, take

StartPeer = Callable[..., PeerProcess]


@pytest.fixture(params=["memcache", "mongodb"], scope="module")
def store(request: pytest.FixtureRequest) -> Store:
    """A result backend that is not the broker."""
    chosen: Store = request.param
    return chosen


@pytest.fixture(scope="module")
def store_url(request: pytest.FixtureRequest, store: Store) -> str:
    """Its URL: three memcached, or a MongoDB that wants a password."""
    if store == "mongodb":
        mongodb: MongoServer = request.getfixturevalue("mongodb_server")
        return mongodb.url
    memcached: list[MemcachedServer] = request.getfixturevalue("memcached_servers")
    return f"memcache://{','.join(server.address for server in memcached)}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(
    scenario: Scenario,
    store: Store,
    store_url: str,
    client: Side,
    worker: Side,
    peers: Peers,
    start_peer: StartPeer,
) -> None:
    if why := skipped(scenario, store, client, worker, SIDES):
        pytest.skip(why)
    pair = peers.pair(client, worker, store_url)
    working, queue = pair.worker, pair.queue
    if scenario.worker is not None:
        queue = f"own-{uuid.uuid4().hex[:8]}"
    run = Run(queue)
    if scenario.worker is not None and not scenario.refused(client):
        flags = [run.fill(flag) for flag in scenario.worker]
        working = start_peer(
            worker, pair.url, "-backend", store_url, "-mode", "worker", "-queue", queue, *flags
        )
    for step, want in steps_for(scenario, store, client, worker):
        take(step, want, run, working if step.to == "worker" else pair.client)


# --- both at once ---------------------------------------------------------------------------------


@pytest.mark.peer
def test_a_chord_whose_members_are_of_both_sides(
    store: Store, store_url: str, client: Side, start_peer: StartPeer, fresh_url: Callable[[], str]
) -> None:
    """The member that sees the group complete takes the trigger, in a way that the other side can see."""
    url = fresh_url()
    flags = ("-backend", store_url)
    for side in SIDES:
        start_peer(side, url, "-mode", "worker", "-queue", side, *flags)
    asking = start_peer(client, url, "-mode", "client", "-queue", "python", *flags)
    for turn in range(5):
        members = [sig("add", i64(n), RoutingKey=SIDES[(n + turn) % 2]) for n in range(10)]
        answer = asking.ask(Op="chord", Sigs=members, Callback=sig("add", RoutingKey=SIDES[turn % 2]))
        assert (answer["OK"], answer["Results"]) == (True, [45]), answer
    letters = [sig("echo_string", text(each), RoutingKey="python") for each in "abcdefghij"]
    callback = sig("on_error", text("0"), RoutingKey="python")
    assert asking.ask(Op="chord", Sigs=letters, Callback=callback)["Results"] == [
        "handled:0,a,b,c,d,e,f,g,h,i,j"
    ]


@pytest.mark.peer
def test_both_sides_find_a_key_on_the_same_server(
    memcached_servers: list[MemcachedServer], start_peer: StartPeer, fresh_url: Callable[[], str]
) -> None:
    """gomemcache's own choice among three servers, against ours, and in another order of theirs."""
    addresses = [server.address for server in memcached_servers]
    for order in (addresses, addresses[::-1], [*addresses, addresses[0]]):
        url = f"memcache://{','.join(order)}"
        go = start_peer("go", fresh_url(), "-backend", url, "-mode", "client")
        ours = open_backend(url, expire=60)
        uuids = [f"task_{uuid.uuid4()}" for _ in range(40)]
        for each in uuids[:20]:
            assert go.ask(Op="send", Sig=sig("add", i64(1), UUID=each))["OK"]
        assert [state and state.State for state in ours.read(uuids[:20])] == [PENDING] * 20
        ours.write([TaskState(TaskUUID=each, State=SUCCESS, Results=()) for each in uuids])
        for each in uuids:
            answer = go.ask(Op="state", UUID=each)
            assert answer["State"] == SUCCESS
            assert json.loads(answer["Raw"])["Results"] == []
        ours.close()


@pytest.mark.peer
def test_go_reads_the_results_that_python_stores(
    mongodb_server: MongoServer, start_peer: StartPeer, fresh_url: Callable[[], str]
) -> None:
    """Values that Go can't read back when a Go worker has stored them."""
    url = fresh_url()
    flags = ("-backend", mongodb_server.url)
    start_peer("python", url, "-mode", "worker", "-queue", "python", *flags)
    go = start_peer("go", url, "-mode", "client", "-queue", "python", *flags)
    for task, type, value in (
        ("echo_int8", "int8", -128),
        ("echo_int", "int", 5),
        ("echo_int32s", "[]int32", [1, -1]),
        ("echo_uint16s", "[]uint16", [0, 255]),
        ("echo_uint64s", "[]uint64", [7]),
        ("echo_string", "string", '{"a":1}'),
        ("echo_string", "string", "null"),
    ):
        answer = go.ask(Op="call", Sig=sig(task, {"Name": "", "Type": type, "Value": value}))
        assert answer.get("Results") == ok(value)["Results"], answer
    given = {"Name": "", "Type": "[]byte", "Value": "aGkA/w=="}
    assert go.ask(Op="call", Sig=sig("echo_bytes", given))["Results"] == ["aGkA/w=="]
