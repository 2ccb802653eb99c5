"""A master dies while tasks run, and a replica takes over: writes that replicas have acknowledged are not lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.servers import RedisCluster, RedisSentinels, RedisServer

from gearmesh import App, PublishError, chain
from gearmesh.config import Config, RedisConfig
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.urls import RedisTarget, parse

from .nodes import Node
from .producers import QUEUE, remote_tasks

#: Another queue. In a cluster it has another slot, so messages to it go through an outbox.
OTHER = "other_tasks"
WORKERS = 2
LEASE = 5.0

SIZES = [400, pytest.param(10_000, marks=pytest.mark.slow)]
WAITING = [
    pytest.param(True, id="waiting"),
    pytest.param(False, marks=pytest.mark.slow, id="not-waiting"),
]
PLACES = [
    "sentinel",
    "cluster",
    pytest.param("two-replicas", marks=pytest.mark.slow),
    pytest.param("planned", marks=pytest.mark.slow),
]


@dataclass
class Deployment:
    """One place for the tasks, whose master can die."""

    url: str
    settings: dict[str, Any]
    kill: Callable[[], None]
    #: of a master; all are waited for, else the one that takes over may be one that has not acknowledged
    replicas: int = 1
    #: marks that must be left, and UUIDs of the tasks that leave them
    expected: dict[str, str] = field(default_factory=dict)
    #: marks of messages whose sender cannot know whether the broker has them
    unsure: set[str] = field(default_factory=set)


@pytest.fixture
def counter(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """The Redis where tasks leave their marks; nothing happens to it."""
    return make_redis()


@pytest.fixture(params=PLACES)
def deployment(
    request: pytest.FixtureRequest,
    make_sentinels: Callable[..., RedisSentinels],
    make_cluster: Callable[..., RedisCluster],
) -> Deployment:
    """A deployment whose master can die. It returns as a replica, as there would be too few to acknowledge writes."""
    if request.param != "cluster":
        replicas = 2 if request.param == "two-replicas" else 1
        group = make_sentinels(replicas=replicas)

        def kill() -> None:
            master = group.master
            master.kill()
            group.wait_for_other(master)
            group.bring_back(master)

        # "planned": the master lives on, and does not know at first that it is replaced.
        how = group.failover if request.param == "planned" else kill
        return Deployment(group.url, {"master_name": group.master_name}, how, replicas)
    cluster = make_cluster(node_timeout=1.0)

    def kill_node() -> None:
        victim = cluster.node_of(QUEUE)
        victim.kill()
        eventually(lambda: cluster.node_of(QUEUE) is not victim, 30, "another master")
        victim.start()

    return Deployment(cluster.url, {}, kill_node)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[..., list[Node]]]:
    """Workers."""
    with ExitStack() as stack:

        def start(deployment: Deployment, counter: RedisServer) -> list[Node]:
            started = []
            for n in range(WORKERS):
                node = Node(
                    deployment.url,
                    counter.port,
                    tmp_path / f"node{n}.log",
                    lease=LEASE,
                    options=["-Q", f"{QUEUE},{OTHER}"],
                    redis=deployment.settings,
                )
                stack.callback(node.close)
                started.append(node.start())
            return started

        yield start


def send(app: App, deployment: Deployment, count: int, half: threading.Event) -> None:
    """Every second one is a chain through two queues."""
    tasks = remote_tasks(app)
    for n in range(count // 3):
        if n == count // 6:
            half.set()
        key = f"plain/{n}"
        with tolerated(deployment, key):
            deployment.expected[key] = tasks["quick"].delay(key).uuid
        key = f"chain/{n}"
        steps = chain(tasks["step"].s(key, 0), tasks["step"].s(key).set(queue=OTHER))
        with tolerated(deployment, f"{key}/0", f"{key}/1"):
            result = steps.apply_async()
            deployment.expected |= {f"{key}/0": "", f"{key}/1": result.results[-1].uuid}


class tolerated(suppress):  # noqa: N801  # reads as suppress does
    """A publish that failed may have happened, or not."""

    def __init__(self, deployment: Deployment, *keys: str) -> None:
        super().__init__(PublishError)
        self._deployment, self._keys = deployment, keys

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        if kind is not None:
            self._deployment.unsure |= set(self._keys)
        return bool(super().__exit__(kind, value, trace))


def open_messages(connection: Any) -> int:
    """Waiting, held, or parked."""
    channel = connection.channel()
    try:
        counts = [channel.count(queue) for queue in (QUEUE, OTHER)]
        return sum(each.pending + each.held + each.parked for each in counts)
    finally:
        channel.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("waiting", WAITING)
@pytest.mark.parametrize("count", SIZES)
def test_a_master_dies(
    deployment: Deployment,
    counter: RedisServer,
    nodes: Callable[..., list[Node]],
    count: int,
    waiting: bool,
) -> None:
    acks = deployment.replicas if waiting else 0
    deployment.settings["replicas_ack"] = acks
    settings = RedisConfig(**deployment.settings)
    began = time.monotonic()
    started = nodes(deployment, counter)
    config = Config(broker=deployment.url, backend=deployment.url, redis=settings)
    with App(config=config) as app, redis.Redis(port=counter.port) as counts:
        half = threading.Event()
        producer = threading.Thread(target=send, args=(app, deployment, count, half))
        producer.start()
        assert half.wait(300)
        died = time.monotonic()
        deployment.kill()
        took = time.monotonic() - died
        producer.join(300)
        assert not producer.is_alive()

        def missing() -> list[str]:
            with counts.pipeline(transaction=False) as pipe:
                for key in deployment.expected:
                    pipe.exists(f"run:{key}")
                return [
                    key for key, there in zip(deployment.expected, pipe.execute(), strict=True) if not there
                ]

        def over() -> bool:
            with open_connection(deployment.url, options={"redis": settings}) as connection:
                return open_messages(connection) == 0

        with suppress(AssertionError):
            eventually(lambda: not missing() and over(), 240 if acks else 2 * LEASE + 10)
        lost = missing()
        doubled = sum(int(counts.llen(f"run:{key}")) > 1 for key in deployment.expected)  # type: ignore[arg-type]
        print(
            f"{len(deployment.expected)} tasks, {len(deployment.unsure)} of unknown fate, replicas_ack={acks}: "
            f"{len(lost)} lost, {doubled} ran twice; another master after {took:.1f} s, "
            f"{time.monotonic() - began:.1f} s in all"
        )
        if not acks:
            return  # the test has printed the lost tasks
        if lost:
            for node in started:
                print(node.tail(200))
        assert lost == []
        assert over()
        uuids = [uuid for uuid in deployment.expected.values() if uuid]
        assert {state and state.State for state in app.states(uuids)} == {"SUCCESS"}
        target = parse(deployment.url)
        assert isinstance(target, RedisTarget)
        client = ConnectionSettings(target, settings).client()
        boxes = [client.hlen(f"gearmesh:{{{key}}}:outbox") for key in (QUEUE, OTHER, "delayed_tasks")]
        hang_up(client)
        assert boxes == [0, 0, 0]
