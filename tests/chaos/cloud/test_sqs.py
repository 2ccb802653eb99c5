"""The storm on Amazon SQS: workers killed and stopped, connections cut, the server stopped and started.

The visibility timeout of the queue is short, so that it passes while the server is stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError
from tests.support.servers import ElasticMQServer, RedisServer

from gearmesh import App
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

from ..crashes import DIED_ALONE, await_a_hard_limit, await_a_task_that_ends_its_process
from ..cut_storms import CutSite, CutStorm, weather
from ..nodes import Node
from ..producers import QUEUE, remote_tasks
from ..rough import Rough
from ..test_storm import seed_of_this_run

#: Seconds for which SQS hides a message whose worker has died.
VISIBILITY_S = 6
#: More often than any message of the storm is received, so a dead letter is a failure of the test.
MAX_RECEIVES = 500


class SQSSite(CutSite):
    """A site with SQS as the broker; states are in a Redis that no fault touches."""

    def __init__(self, folder: Path, server: ElasticMQServer, counter: RedisServer) -> None:
        super().__init__(folder, server, counter)
        self.sqs = server
        quick = BotoConfig(
            connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1, "mode": "standard"}
        )
        self.boto: Any = boto3.client(
            "sqs", endpoint_url=server.endpoint, region_name="us-east-1", config=quick
        )
        dead = self.boto.create_queue(QueueName=f"{QUEUE}-dead")["QueueUrl"]
        found = self.boto.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        attributes = {"VisibilityTimeout": str(VISIBILITY_S), "RedrivePolicy": json.dumps(policy)}
        self.boto.create_queue(QueueName=QUEUE, Attributes=attributes)

    def hide_for(self, seconds: int) -> None:
        """Set the visibility timeout of the queue; workers that are started from now on have it."""
        attributes = {"VisibilityTimeout": str(seconds)}
        self.boto.set_queue_attributes(QueueUrl=f"{self.url()}/{QUEUE}", Attributes=attributes)

    def url(self, proxy: Proxy | None = None) -> str:
        return f"http://127.0.0.1:{(proxy or self.sqs).port}/000000000000"

    def ready(self, count: int | None = None) -> None:
        """Wait until that many workers say that they consume."""
        wanted = len(self.nodes) if count is None else count
        eventually(lambda: sum(map(_consumes, self.nodes)) >= wanted, 60, f"{wanted} consumers")

    def open(self) -> int:
        """Return the number of waiting, hidden and delayed messages; -1 while the server is unreachable."""
        names = [f"ApproximateNumberOfMessages{end}" for end in ("", "NotVisible", "Delayed")]
        with suppress(BotoCoreError, ClientError):
            found = self.boto.get_queue_attributes(QueueUrl=f"{self.url()}/{QUEUE}", AttributeNames=names)
            return sum(int(found["Attributes"][name]) for name in names)
        return -1

    def letters(self) -> list[DeadLetter]:
        with open_connection(self.url()) as connection:
            found: list[DeadLetter] = connection.channel().dead_letters(QUEUE)
            return found


def _consumes(node: Node) -> bool:
    return b"consuming from" in node.log.read_bytes()


class SQSStorm(CutStorm):
    """Kills as on Redis; connections are cut; the server is killed, and comes back."""

    def __init__(self, site: SQSSite, seed: int) -> None:
        super().__init__(site, seed)
        self._sqs = site.sqs
        now = time.monotonic()
        self._plan = [
            (now + 1.0, 1.5, self._kill),
            (now + 4.0, 40.0, self._restart),
            (now + 0.7, 0.9, self._cut),
        ]

    def _restart(self) -> str:
        if not self._sqs.stores:
            return "SQS spared, as it stores nothing"
        began = time.monotonic()
        # After SIGTERM, ElasticMQ still accepts messages for half a second, and keeps none of them, as two plain boto3
        # clients show, one that sends and one that receives. After SIGKILL it keeps all.
        self._sqs.kill()
        # After a start, it answers that queues do not exist until it has read them from its disk.
        for proxy in self._site.proxies:
            proxy.refuse()
        time.sleep(self._random.choice((0.0, VISIBILITY_S + 1.0)))
        self._sqs.start()
        for proxy in self._site.proxies:
            proxy.allow()
        # All that ends in the meantime waits for its acknowledgement, and loses its visibility timeout.
        moment = began
        while moment < time.monotonic():
            self.cuts.append(moment)
            moment += 5.0
        self.cuts.append(time.monotonic())
        return "SQS killed"


@pytest.fixture
def site(
    tmp_path: Path,
    make_elasticmq: Callable[..., ElasticMQServer],
    make_redis: Callable[..., RedisServer],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SQSSite]:
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")
    monkeypatch.setenv("SQS_WAIT_TIME_SECONDS", "2")
    with SQSSite(tmp_path, make_elasticmq(durable=True), make_redis()) as site:
        yield site


def storm(site: SQSSite, **size: Any) -> None:
    seed = seed_of_this_run()
    weather(site, lambda: SQSStorm(site, seed), seed, **size)


@pytest.mark.timeout(300)
def test_short(site: SQSSite) -> None:
    """Some 600 tasks, 8 s of faults."""
    storm(site, nodes=2, tasks=400, seconds=8.0, workflows=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long(site: SQSSite) -> None:
    """Three workers, 5,000 tasks and more in chains and chords."""
    storm(site, nodes=3, tasks=5000, seconds=90.0, workflows=5)


@pytest.mark.timeout(120)
def test_a_killed_worker_s_tasks_run_elsewhere(site: SQSSite) -> None:
    """A worker and its supervisor are killed: their messages are shown again when their visibility timeout is over."""
    first = site.node()
    site.ready()
    with App(site.url(), site.backend) as app:
        work = remote_tasks(app)["work"]
        results = app.publish_many(work.s(f"task/{i}", 1500) for i in range(4))
        eventually(lambda: site.begun() == 4)
        first.kill_both()
        site.node()
        for result in results:
            result.get(timeout=60)
    assert [len(site.runs(f"task/{i}")) for i in range(4)] == [2] * 4
    eventually(lambda: site.open() == 0)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process(site: SQSSite, rough: Rough) -> None:
    """The supervisor finds the running task in the journal and sends its message again with a crash count.

    Three visibility timeouts would take longer than the test waits. One or two may pass: SQS may hand a message to the
    request of a process that has just died.
    """
    site.hide_for(25)
    rough("threads")
    rough("processes", concurrency=2)
    site.ready(2)
    await_a_task_that_ends_its_process(site, others=200)
    (letter,) = eventually(site.letters)
    assert letter.reason == DIED_ALONE


@pytest.mark.timeout(120)
def test_a_hard_limit(site: SQSSite, rough: Rough) -> None:
    site.hide_for(15)
    rough("processes", "--hard-limit", "0.5", concurrency=2)
    site.ready(1)
    await_a_hard_limit(site)
    assert [len(site.runs(key)) for key in ("hang", "mourner")] == [1, 1]
    assert not site.letters()
