"""The table of scenarios with results in DynamoDB, every way that the peers allow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer

from gearmesh.testing.peerproc import PeerProcess

from .conftest import SIDES
from .peers import Peers
from .scenarios import SCENARIOS, Scenario, Side
from .stores import skipped, steps_for
from .test_scenarios import Run, ids, take

StartPeer = Callable[..., PeerProcess]

#: Machinery takes this URL for DynamoDB; the environment says where it is.
URL = "https://dynamodb.us-east-1.amazonaws.com"


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
