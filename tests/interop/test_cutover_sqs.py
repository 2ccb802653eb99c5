"""The steps that ``gearmesh cutover`` prints for SQS, taken with real processes while calls come all the time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.support.servers import ElasticMQServer

from gearmesh.shadow import SHADOW_QUEUE
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually

from .cutover import CALLS, GO_QUEUE, OWN, Callers, GoService, Shop, command, compare
from .scenarios import Side, i64, sig

#: Seconds for which Go's queue hides a message that a stopping worker has received and not run.
HIDDEN_S = 5
#: Seconds for which it does so where a test counts the hidden messages.
LONG_HIDDEN_S = 20
#: Seconds within which a Go worker ends after SIGTERM, if it ends at all: it waits for messages for one more second.
STOP_TIMEOUT_S = 8


class Account:
    """The queues of an AWS account of the test's own."""

    def __init__(self, server: ElasticMQServer) -> None:
        self.url = server.url
        self._boto: Any = boto3.client("sqs", endpoint_url=server.endpoint, region_name="us-east-1")

    def make(self, queue: str, **attributes: Any) -> None:
        """Create a queue with a redrive policy, as docs/reference/sqs.md does."""
        kept = {"MessageRetentionPeriod": "1209600"}
        dead = self._boto.create_queue(QueueName=f"{queue}-dead", Attributes=kept)["QueueUrl"]
        found = self._boto.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
        policy = json.dumps({"deadLetterTargetArn": found["QueueArn"], "maxReceiveCount": "20"})
        own = {name: str(value) for name, value in attributes.items()}
        self._boto.create_queue(QueueName=queue, Attributes={**kept, "RedrivePolicy": policy, **own})

    def counts(self, queue: str) -> tuple[int, int, int]:
        """Return the numbers of messages that wait, that are hidden, and that are delayed."""
        names = [f"ApproximateNumberOfMessages{end}" for end in ("", "NotVisible", "Delayed")]
        found = self._boto.get_queue_attributes(QueueUrl=f"{self.url}/{queue}", AttributeNames=names)
        waiting, hidden, delayed = (int(found["Attributes"][name]) for name in names)
        return waiting, hidden, delayed


@pytest.fixture
def account(make_elasticmq: Callable[..., ElasticMQServer]) -> Iterator[Account]:
    """An account of the test's own, and the variables by which processes find it."""
    server = make_elasticmq()
    given = {
        "DISABLE_STRICT_SQS_CHECK": "true",
        "AWS_ENDPOINT_URL_SQS": server.endpoint,
        "AWS_REGION": "us-east-1",
        "SQS_WAIT_TIME_SECONDS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        yield Account(server)


@pytest.mark.timeout(300)  # ten processes start one after another
def test_a_task_moves_and_comes_back(
    worker: Side,
    account: Account,
    start_peer: Callable[..., PeerProcess],
    fresh_url: Callable[[], str],
    tmp_path: Path,
) -> None:
    """In each step, and on the way back, each call runs once and is answered."""
    broker, backend = account.url, fresh_url()
    account.make(GO_QUEUE, VisibilityTimeout=HIDDEN_S)
    shop = Shop(tmp_path, broker, backend, fresh_url())
    steps = shop.run("gearmesh cutover shop add")
    service = GoService(lambda *flags: start_peer(worker, broker, "-backend", backend, *flags))
    with ExitStack() as stack:
        callers = Callers(service, broker, backend, stack)
        # Before
        assert f"Make the queue {SHADOW_QUEUE}." in steps
        account.make(SHADOW_QUEUE)
        compare(shop, steps, callers)
        assert account.counts(SHADOW_QUEUE)[0] == 0
        # 1. Add Python workers
        assert f"Make the queue {OWN} with a redrive policy (docs/reference/sqs.md)" in steps
        account.make(OWN)
        python = stack.enter_context(shop.start(command(steps, "gearmesh worker")))
        stack.callback(python.terminate)
        callers.go_on()
        # 2. Send it to python_tasks
        callers.send_to(OWN)
        # 3. Take the task out of Go. ElasticMQ has no CloudWatch: all calls through Go's queue are answered by now.
        by_the_first = service.runs()
        service.deploy("-skip", "add")
        callers.go_on()
        assert service.runs() == by_the_first
        # To go back after step 3, the last part of which is the way back before step 3
        service.deploy()
        callers.send_to(GO_QUEUE)
        assert f"until '{command(steps, 'gearmesh queues')}' shows 0 pending, held and delayed" in steps

        def emptied() -> bool:
            heads, row = (line.split() for line in shop.run(command(steps, "gearmesh queues")).splitlines())
            assert (row[0], heads[1:3], heads[5]) == (OWN, ["pending", "held"], "delayed")
            return [row[1], row[2], row[5]] == ["0", "0", "0"]

        eventually(emptied, what=f"an empty {OWN}")
        python.terminate()
        assert python.wait(60) == 0
        callers.go_on()
        calls = callers.stop()

    by_python = shop.runs()
    assert set(by_python.values()) == {1}
    assert service.runs() + len(by_python) == calls
    assert len(by_python) > 3 * CALLS
    eventually(lambda: account.counts(GO_QUEUE) == (0, 0, 0))
    service.close()
    assert account.counts(OWN) == (0, 0, 0)


@pytest.mark.peer
def test_a_late_call_disturbs_go_s_other_tasks_until_the_task_is_registered_again(
    account: Account,
    start_peer: Callable[..., PeerProcess],
    fresh_url: Callable[[], str],
    tmp_path: Path,
    note: Callable[[str, str], None],
) -> None:
    """Step 3 says how many messages a Go worker takes and does not run, and how to end it.

    Go: v1.6.6 ends after SIGTERM all the same; v1.8.8, v2.0.10 and later do not.
    """
    broker, backend, concurrency, sent = account.url, fresh_url(), 4, 40
    account.make(GO_QUEUE, VisibilityTimeout=LONG_HIDDEN_S)
    steps = Shop(tmp_path, broker, backend, fresh_url()).run("gearmesh cutover shop add")
    assert "this worker also takes as many other messages as its concurrency, and runs none of them" in steps
    assert "register 'add' in Go again and deploy it" in steps
    assert "If SIGTERM does not end the Go workers of the version before, use SIGKILL" in steps

    def start(mode: str, *flags: str) -> PeerProcess:
        flags = ("-mode", mode, "-backend", backend, "-concurrency", str(concurrency), *flags)
        return start_peer("go", broker, *flags)

    client, worker = start("client"), start("worker", "-skip", "add")
    (late,) = client.ask(Op="send", Sig=sig("add", i64(20), i64(22)))["UUIDs"]
    eventually(lambda: "task add is not registered" in worker.log_text())
    client.ask(Op="flood", Sig=sig("noop"), Count=sent, Concurrency=4)
    ran = worker.ask(Op="await", Count=sent - concurrency, TimeoutMs=10_000)["N"]
    eventually(lambda: account.counts(GO_QUEUE) == (0, concurrency + 1, 0), timeout=LONG_HIDDEN_S / 2)
    assert ran == sent - concurrency
    cured = start("worker")
    os.kill(worker.pid, signal.SIGTERM)
    try:
        eventually(lambda: not worker.running, STOP_TIMEOUT_S)
    except AssertionError:
        note("a worker on SQS that has received an unregistered task", "SIGTERM does not end it")
    worker.kill()
    assert cured.ask(Op="await", Count=concurrency + 1, TimeoutMs=60_000)["N"] == concurrency + 1
    eventually(lambda: client.ask(Op="state", UUID=late)["State"] == "SUCCESS")
    eventually(lambda: account.counts(GO_QUEUE) == (0, 0, 0))
    os.kill(cured.pid, signal.SIGTERM)
    eventually(lambda: not cured.running, what="its end")
