"""The table of scenarios with results in DynamoDB, and Redis or SQS as the broker, every way that the peers allow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer, ElasticMQServer

from gearmesh.testing.peerproc import PeerProcess

from .conftest import SIDES
from .peers import Peers
from .scenarios import SCENARIOS, Scenario, Side, sig, text
from .stores import skipped, steps_for
from .test_cloud_sqs import RUN_EARLY_BY_GO, Pairs, peers_environment  # noqa: F401 - the latter is a fixture
from .test_scenarios import Run, ids, take

StartPeer = Callable[..., PeerProcess]

#: Machinery takes this URL for DynamoDB; the environment says where it is.
URL = "https://dynamodb.us-east-1.amazonaws.com"
#: Rows about a workflow, a failure or a retry: with SQS as the broker these are run.
WITH_SQS = frozenset(
    {
        "add",
        "two results",
        "state of nothing",
        "failure with OnError",
        "OnSuccess",
        "chain of three",
        "chain that breaks",
        "group",
        "chord of ten",
        "chord gives its members' order",
        "chord with one failing member",
        "retry twice",
        "RetryLater",
        "panic",
        "echo string",
        "echo float64",
    }
)


@pytest.fixture(scope="module", autouse=True)
def tables(dynamodb_local: DynamoDBServer) -> Iterator[Tables]:
    """The tables of Machinery's own names, and an environment in which all peers find them."""
    tables = Tables.named(dynamodb_local, "task_states", "group_metas")
    tables.delete()
    tables.make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", tables.url)
        patch.setenv("AWS_REGION", "us-east-1")
        yield tables


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(
    scenario: Scenario, client: Side, worker: Side, peers: Peers, start_peer: StartPeer
) -> None:
    if why := skipped(scenario, "dynamodb", client, worker, SIDES):
        pytest.skip(why)
    pair = peers.pair(client, worker, URL)
    working, queue = pair.worker, pair.queue
    if scenario.worker is not None:
        queue = f"own-{uuid.uuid4().hex[:8]}"
    run = Run(queue)
    if scenario.worker is not None and not scenario.refused(client):
        flags = [run.fill(flag) for flag in scenario.worker]
        working = start_peer(worker, pair.url, "-backend", URL, "-mode", "worker", "-queue", queue, *flags)
    for step, want in steps_for(scenario, "dynamodb", client, worker):
        take(step, want, run, working if step.to == "worker" else pair.client)


@pytest.fixture(scope="module")
def sqs_pairs(elasticmq: ElasticMQServer, peers: Peers) -> Pairs:
    """Clients and workers whose broker is SQS."""
    boto: Any = boto3.client("sqs", endpoint_url=elasticmq.endpoint, region_name="us-east-1")
    return Pairs(peers, boto, elasticmq.url, URL)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.name in WITH_SQS], ids=ids)
def test_scenario_with_sqs(scenario: Scenario, client: Side, worker: Side, sqs_pairs: Pairs) -> None:
    if why := skipped(scenario, "dynamodb", client, worker, ("go", "python")):
        pytest.skip(why)
    queue, asked, working = sqs_pairs.get(client, worker)
    run = Run(queue)
    for step, want in steps_for(scenario, "dynamodb", client, worker):
        if worker == "go" and scenario.name in RUN_EARLY_BY_GO:
            step = replace(step, least=0.0)
        take(step, want, run, working if step.to == "worker" else asked)


def test_all_rows_for_sqs_are_in_the_table() -> None:
    assert {each.name for each in SCENARIOS} >= WITH_SQS


@pytest.mark.peer
@pytest.mark.parametrize("side", ["go", "python"])
def test_go_reads_the_results_that_python_stores(
    start_peer: StartPeer, fresh_url: Callable[[], str], side: Side
) -> None:
    """Values that Go can't read back where a Go worker has stored them."""
    url = fresh_url()
    start_peer(side, url, "-backend", URL, "-mode", "worker", "-queue", "work")
    go = start_peer("go", url, "-backend", URL, "-mode", "client", "-queue", "work")
    for task, type, value in (
        ("echo_bool", "bool", True),
        ("echo_float64", "float64", 0.5),
        ("echo_float32", "float32", 0.5),
        ("echo_bools", "[]bool", [True, False]),
        ("echo_strings", "[]string", ["a b", ""]),
        ("echo_float64s", "[]float64", [1.5, -1]),
        ("echo_bytes", "[]byte", "aGkA/w=="),
        ("echo_strings", "[]string", []),
    ):
        answer = go.ask(Op="call", Sig=sig(task, {"Name": "", "Type": type, "Value": value}))
        assert answer.get("Results") == ([value] if side == "python" else None), answer


@pytest.mark.peer
def test_a_chord_whose_members_are_of_both_sides(
    client: Side, start_peer: StartPeer, fresh_url: Callable[[], str]
) -> None:
    """The member that completes the group takes the trigger; the callback, which may run twice, gets all results."""
    url = fresh_url()
    flags = ("-backend", URL)
    for side in SIDES:
        start_peer(side, url, "-mode", "worker", "-queue", side, *flags)
    asking = start_peer(client, url, "-mode", "client", "-queue", "python", *flags)
    for turn in range(5):
        letters = "abcdefghij"
        members = [
            sig("echo_string", text(each), RoutingKey=SIDES[(n + turn) % 2]) for n, each in enumerate(letters)
        ]
        callback = sig("on_error", text("0"), RoutingKey=SIDES[turn % 2])
        answer = asking.ask(Op="chord", Sigs=members, Callback=callback)
        assert answer["OK"], answer
        (result,) = answer["Results"]
        assert sorted(result.removeprefix("handled:0,").split(",")) == list(letters)
