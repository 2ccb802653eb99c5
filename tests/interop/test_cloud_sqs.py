"""The table of scenarios with Amazon SQS as the broker, for all pairs of peers, and messages that Go has sent there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from tests.support.servers import ElasticMQServer

from gearmesh.testing.peerproc import PeerProcess

from .peers import Peers
from .scenarios import SCENARIOS, Json, Scenario, Side, Step, i64, sig
from .test_scenarios import Run, ids, take

#: Rows that SQS cannot show: it lists no messages, and delays none until 2036 for Go.
NOT_HERE = frozenset({"pending", "delayed"})
#: Go: SQS delays by whole seconds, of which Go cuts the rest, and its worker looks at no ETA.
RUN_EARLY_BY_GO = frozenset({"ETA", "RetryLater", "retry twice"})
#: Go: its worker stands still for a while after such messages, so it gets them from a queue of its own.
WEDGES_GO = frozenset(
    {
        "mistyped argument",
        "unknown argument type",
        "null argument",
        "float for an integer",
        "int64 overflow",
        "int8 overflow",
        "mixed slice",
        "bad base64",
        "no such task, ignored",
    }
)
TABLE = [scenario for scenario in SCENARIOS if scenario.name not in NOT_HERE]


def steps_for(scenario: Scenario, client: Side, worker: Side) -> list[tuple[Step, Json]]:
    """The steps that can be asked on SQS."""
    steps = [
        (step, want)
        for step, want in scenario.steps_for(client, worker)
        if step.ask["Op"] not in ("pending", "delayed")
    ]
    if worker == "go" and scenario.name in RUN_EARLY_BY_GO:
        return [(replace(step, least=0.0), want) for step, want in steps]
    return steps


@pytest.fixture(scope="session")
def results_redis(fresh_url: Callable[[], str]) -> str:
    """One Redis database for the results of all: their ids are unique."""
    return fresh_url()


@pytest.fixture(scope="module", autouse=True)
def peers_environment(elasticmq: ElasticMQServer) -> Iterator[None]:
    """The variables by which peers of either side find the server; ours creates the queues it needs."""
    given = {
        "DISABLE_STRICT_SQS_CHECK": "true",
        "AWS_ENDPOINT_URL_SQS": elasticmq.endpoint,
        "AWS_REGION": "us-east-1",
        "GEARMESH_SQS_CREATE_QUEUES": "true",
        "SQS_WAIT_TIME_SECONDS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def boto(elasticmq: ElasticMQServer) -> Any:
    return boto3.client("sqs", endpoint_url=elasticmq.endpoint, region_name="us-east-1")


class Pairs:
    """Clients and workers that the scenarios share, with a queue for each two sides."""

    def __init__(self, peers: Peers, boto: Any, url: str, backend: str) -> None:
        self._peers = peers
        self._boto = boto
        self._url = url
        self._backend = backend
        self._made: dict[tuple[Side, Side], tuple[str, PeerProcess, PeerProcess]] = {}

    def get(self, client: Side, worker: Side) -> tuple[str, PeerProcess, PeerProcess]:
        found = self._made.get((client, worker))
        if found is None:
            queue = f"{client}-to-{worker}-{uuid.uuid4().hex[:6]}"
            self._boto.create_queue(QueueName=queue)
            ends = [
                self._peers.launch(side, self._url, "-mode", mode, "-queue", queue, "-backend", self._backend)
                for side, mode in ((client, "client"), (worker, "worker"))
            ]
            for end in ends:
                end.wait_ready()
            found = self._made[client, worker] = (queue, *ends)
        return found


@pytest.fixture(scope="module")
def pairs(elasticmq: ElasticMQServer, boto: Any, peers: Peers, results_redis: str) -> Pairs:
    return Pairs(peers, boto, elasticmq.url, results_redis)


@pytest.mark.parametrize("scenario", TABLE, ids=ids)
def test_scenario(
    scenario: Scenario,
    client: Side,
    worker: Side,
    pairs: Pairs,
    boto: Any,
    elasticmq: ElasticMQServer,
    start_peer: Callable[..., PeerProcess],
    results_redis: str,
) -> None:
    queue, asked, working = pairs.get(client, worker)
    wedges = worker == "go" and scenario.name in WEDGES_GO
    run = Run(f"own-{uuid.uuid4().hex[:8]}" if scenario.worker is not None or wedges else queue)
    if (scenario.worker is not None or wedges) and not scenario.refused(client):
        for word in ("{queue}", "{other}"):
            boto.create_queue(QueueName=run.fill(word))
        own = [run.fill(flag) for flag in scenario.worker or ()]
        flags = ("-queue", run.fill("{queue}"), "-backend", results_redis)
        working = start_peer(worker, elasticmq.url, "-mode", "worker", *flags, *own)
        if wedges:
            asked = start_peer(client, elasticmq.url, "-mode", "client", *flags)
    for step, want in steps_for(scenario, client, worker):
        take(step, want, run, working if step.to == "worker" else asked)


CHORDS, MEMBERS = 20, 6


@pytest.mark.peer
@pytest.mark.parametrize("sender", ["go", "python"])
def test_chords_of_two_kinds_of_workers_fire_once(
    sender: Side,
    elasticmq: ElasticMQServer,
    boto: Any,
    start_peer: Callable[..., PeerProcess],
    results_redis: str,
) -> None:
    """Go and Python take members of the same groups from one queue."""
    queue, callbacks = f"chords-{uuid.uuid4().hex[:8]}", f"callbacks-{uuid.uuid4().hex[:8]}"
    urls = [boto.create_queue(QueueName=name)["QueueUrl"] for name in (queue, callbacks)]
    flags = ("-queue", queue, "-backend", results_redis)
    client = start_peer(sender, elasticmq.url, "-mode", "client", *flags)
    for side in ("go", "python"):
        start_peer(side, elasticmq.url, "-mode", "worker", "-concurrency", "4", *flags)
    for _ in range(CHORDS):
        members = [sig("add", i64(n)) for n in range(MEMBERS)]
        client.ask(
            {"Op": "chord", "Sigs": members, "Callback": sig("add", RoutingKey=callbacks), "TimeoutMs": 1}
        )
    bodies: list[str] = []
    while len(bodies) < CHORDS:
        came = boto.receive_message(QueueUrl=urls[1], MaxNumberOfMessages=10, WaitTimeSeconds=20).get(
            "Messages", ()
        )
        assert came, f"{CHORDS - len(bodies)} chords did not fire"
        bodies += [each["Body"] for each in came]
    assert not boto.receive_message(QueueUrl=urls[1], WaitTimeSeconds=1).get("Messages"), (
        "a chord sent its callback twice"
    )
    assert len(set(bodies)) == CHORDS
