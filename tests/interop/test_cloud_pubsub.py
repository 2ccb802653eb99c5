"""The table of scenarios with Google Pub/Sub as the broker and Redis for results, every way that the peers allow."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode, encode

from .peers import Peers
from .scenarios import SCENARIOS, Json, Scenario, Side, i64, sig
from .test_scenarios import Run, ids, take

GOLDEN = Path(__file__).parents[1] / "golden" / "cloud"

#: Rows that Pub/Sub cannot show: it lists no messages, and Go reads no queue but the one of its URL.
NOT_HERE = frozenset({"pending", "delayed", "custom queue"})
TABLE = [scenario for scenario in SCENARIOS if scenario.name not in NOT_HERE]


def steps_for(scenario: Scenario, client: Side, worker: Side) -> list[tuple[object, Json]]:
    """The steps that can be asked on Pub/Sub.

    A Go worker looks at no ETA: only Go's own publisher waits. See the delay topic below.
    """
    steps = [
        (step, want)
        for step, want in scenario.steps_for(client, worker)
        if step.ask["Op"] not in ("pending", "delayed")
    ]
    if scenario.name == "ETA" and (client, worker) == ("python", "go"):
        return [(replace(step, least=0.0), want) for step, want in steps]
    return list(steps)


class Pairs:
    """Clients and workers that the scenarios share: a project, a topic and a subscription for each two sides."""

    def __init__(self, peers: Peers, backend: str) -> None:
        self._peers = peers
        self._backend = backend
        self._made: dict[tuple[Side, Side], tuple[PubSubProject, str, PeerProcess, PeerProcess]] = {}

    def get(self, client: Side, worker: Side) -> tuple[PubSubProject, str, PeerProcess, PeerProcess]:
        found = self._made.get((client, worker))
        if found is None:
            project, queue = PubSubProject(), f"{client}-to-{worker}"
            url = project.queue(queue, "workers")
            ends = [
                self._peers.launch(side, url, "-mode", mode, "-queue", queue, "-backend", self._backend)
                for side, mode in ((client, "client"), (worker, "worker"))
            ]
            for end in ends:
                end.wait_ready()
            found = self._made[client, worker] = (project, queue, *ends)
        return found


@pytest.fixture(scope="session")
def backend_url(fresh_url: Callable[[], str]) -> str:
    """One Redis database for the results of all: their ids are unique."""
    return fresh_url()


@pytest.fixture(scope="module")
def pairs(pubsub_emulator: PubSubServer, peers: Peers, backend_url: str) -> Pairs:
    return Pairs(peers, backend_url)


@pytest.mark.parametrize("scenario", TABLE, ids=ids)
def test_scenario(
    scenario: Scenario,
    client: Side,
    worker: Side,
    pairs: Pairs,
    start_peer: Callable[..., PeerProcess],
    backend_url: str,
) -> None:
    project, queue, asked, working = pairs.get(client, worker)
    if scenario.worker is not None:
        queue = f"own-{uuid.uuid4().hex[:8]}"
        own_url = project.queue(queue)
        run = Run(queue)
        if not scenario.refused(client):
            flags = [run.fill(flag) for flag in scenario.worker]
            working = start_peer(
                worker, own_url, "-mode", "worker", "-queue", queue, "-backend", backend_url, *flags
            )
    else:
        run = Run(queue)
    for step, want in steps_for(scenario, client, worker):
        take(step, want, run, working if step.to == "worker" else asked)  # type: ignore[attr-defined, arg-type]


def recorded() -> list[bytes]:
    """All messages of the recording, as Go wrote them."""
    lines = (GOLDEN / "pubsub-send.txt").read_text().splitlines()
    return [line.removeprefix("DATA ").encode() for line in lines if line.startswith("DATA ")]


def test_the_recorded_messages_are_read_and_written_alike() -> None:
    bodies = recorded()
    assert len(bodies) > 5
    for body in bodies:
        assert encode(decode(body)) == body


def test_recorded_messages_have_no_attributes_and_ours_none_for_go(pubsub_emulator: PubSubServer) -> None:
    """A task that is due is published as Go publishes it: the signature alone."""
    text = (GOLDEN / "pubsub-send.txt").read_text()
    assert set(re.findall(r"ATTRS (.*) ID", text)) == {"{} ORDERING_KEY ''"}
    project = PubSubProject()
    url = project.queue("machinery_tasks", "workers")
    for body in recorded():
        with open_connection(url) as connection:
            connection.channel().commit([Commit(publishes=(Publish("machinery_tasks", body),))])
        (message,) = project.take("workers")
        assert (message.data, dict(message.attributes), message.ordering_key) == (body, {}, "")


def test_the_recorded_results_are_read(fresh_url: Callable[[], str]) -> None:
    """The broker does not change results: gearmesh reads those of a Go worker behind Pub/Sub from Redis as usual."""
    states = {}
    for line in (GOLDEN / "pubsub-redis.txt").read_text().splitlines():
        key, _, value = line.partition(" => ")
        states[key] = json.loads(value)
    chord = next(each for key, each in states.items() if key.startswith("group_"))
    assert chord["ChordTriggered"] is True
    assert {states[uuid]["State"] for uuid in chord["TaskUUIDs"]} == {"SUCCESS"}


CHORDS, MEMBERS = 20, 6


@pytest.mark.peer
@pytest.mark.parametrize("sender", ["go", "python"])
def test_chords_of_two_kinds_of_workers_fire_once(
    sender: Side, pubsub_emulator: PubSubServer, start_peer: Callable[..., PeerProcess], backend_url: str
) -> None:
    """Go and Python take members of the same groups through one subscription."""
    project = PubSubProject()
    url = project.queue("machinery_tasks", "workers")
    project.queue("callbacks")
    client = start_peer(sender, url, "-mode", "client", "-backend", backend_url)
    for side in ("go", "python"):
        start_peer(side, url, "-mode", "worker", "-concurrency", "4", "-backend", backend_url)
    for _ in range(CHORDS):
        members = [sig("add", i64(n)) for n in range(MEMBERS)]
        client.ask(
            {"Op": "chord", "Sigs": members, "Callback": sig("add", RoutingKey="callbacks"), "TimeoutMs": 1}
        )
    fired: list[Json] = []

    def all_fired() -> bool:
        fired.extend(json.loads(message.data) for message in project.take("callbacks"))
        return len({each["UUID"] for each in fired}) == CHORDS

    eventually(all_fired)
    for each in fired:
        assert sorted(arg["Value"] for arg in each["Args"]) == list(range(MEMBERS))
    assert len(fired) == CHORDS, "a callback was sent twice"


@pytest.mark.peer
def test_a_go_worker_gets_a_delayed_task_when_it_is_due(
    pubsub_emulator: PubSubServer,
    start_peer: Callable[..., PeerProcess],
    backend_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker of gearmesh, which reads another queue here, forwards the task from the delay topic to Go's queue."""
    project = PubSubProject()
    url = project.queue("machinery_tasks", "workers")
    project.queue("delays")
    monkeypatch.setenv("GEARMESH_GCPPUBSUB_DELAY_TOPIC", "delays")
    monkeypatch.setenv("GEARMESH_GCPPUBSUB_DELAY_SUBSCRIPTION", "delays")
    client = start_peer("python", url, "-mode", "client", "-backend", backend_url, "-env")
    start_peer("go", url, "-mode", "worker", "-backend", backend_url)
    other = project.queue("forwarders")
    start_peer("python", other, "-mode", "worker", "-queue", "forwarders", "-backend", backend_url, "-env")
    run = Run("machinery_tasks")
    ask = run.fill({"Op": "call", "Sig": sig("add", i64(7), ETA="{in:2.5}")})
    began = time.monotonic()
    assert client.ask(ask)["Results"] == [7]
    assert time.monotonic() - began >= 2.4
