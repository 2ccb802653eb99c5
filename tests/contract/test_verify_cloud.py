"""``gearmesh verify`` on SQS and Pub/Sub, against a worker of our own."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import ElasticMQServer, PubSubServer
from tests.unit.verify.test_verify import QUEUE, echo_worker, rows, verify


@pytest.fixture
def boto(elasticmq: ElasticMQServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")
    return boto3.client("sqs", endpoint_url=elasticmq.endpoint, region_name="us-east-1")


def queues(boto: Any) -> set[str]:
    found = boto.list_queues(QueueNamePrefix=QUEUE).get("QueueUrls", [])
    return {url.rpartition("/")[2] for url in found}


def test_both_sides_agree_on_sqs(elasticmq: ElasticMQServer, boto: Any, redis_url: str) -> None:
    boto.create_queue(QueueName=QUEUE)
    try:
        with echo_worker(elasticmq.url, redis_url):
            done = verify("--broker", elasticmq.url, "--backend", redis_url, "--json")
        assert {row["verdict"] for row in rows(done)} == {"agrees"}
        assert done.exit_code == 0, done.output
        assert queues(boto) == {QUEUE}, (
            "the queue of the run's own worker is gone, and that of its dead letters"
        )
    finally:
        boto.delete_queue(QueueUrl=f"{elasticmq.url}/{QUEUE}")


def test_a_queue_that_does_not_exist_is_named(elasticmq: ElasticMQServer, boto: Any, redis_url: str) -> None:
    missing = f"{QUEUE}-missing"
    done = verify("--broker", elasticmq.url, "--backend", redis_url, "--queue", missing, "--json")
    assert done.exit_code == 1, done.output
    first = rows(done)[0]
    assert (first["direction"], first["subject"], first["verdict"]) == ("queue", missing, "differs")
    assert first["detail"] == f"queue {missing!r} does not exist on {elasticmq.url}"
    assert queues(boto) == set()


def test_both_sides_agree_on_pubsub(pubsub_emulator: PubSubServer, redis_url: str) -> None:
    project = PubSubProject()
    url = project.queue(QUEUE)
    with echo_worker(url, redis_url):
        done = verify("--broker", url, "--backend", redis_url, "--json")
    assert {row["verdict"] for row in rows(done)} == {"agrees"}
    assert done.exit_code == 0, done.output
    assert project.topics() == [QUEUE]
