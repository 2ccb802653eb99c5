"""The storm with results in DynamoDB: workers are killed, and DynamoDB itself.

The broker is a Redis that no fault touches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer, RedisServer

from gearmesh import App
from gearmesh.backends.registry import open_backend

from ..harness import Site, Storm
from ..producers import AppProducer, remote_tasks
from ..test_storm import seed_of_this_run, settled

#: Seconds that DynamoDB is left alone after it has come back.
MIN_UP_S = 4.0


class DynamoDBSite(Site):
    """A site with states in a DynamoDB that keeps its tables on disk."""

    def __init__(
        self, folder: Path, dynamodb: DynamoDBServer, server: RedisServer, counter: RedisServer
    ) -> None:
        super().__init__(folder, server, counter)
        self.dynamodb = dynamodb
        self.backend = dynamodb.endpoint
        Tables.named(dynamodb, "task_states", "group_metas").make()
        self._states = open_backend(self.backend, expire=3600)
        self._stack.callback(self._states.close)

    def states(self, uuids: list[str]) -> list[str]:
        return ["" if state is None else state.State for state in self._states.read(uuids)]


class PatientProducer(AppProducer):
    """Waits for a DynamoDB that takes long to come back."""

    def __init__(self, site: DynamoDBSite, seed: int, count: int, seconds: float, workflows: int) -> None:
        super().__init__(site.url(), seed, count, seconds, workflows, backend=site.backend)
        self._app.close()
        self._app = App(broker=site.url(), backend=site.backend, publish_timeout=180.0)
        self._tasks = remote_tasks(self._app)


class DynamoDBStorm(Storm):
    """A worker is killed each second and a half, DynamoDB some times: its start takes seconds on a busy machine."""

    def __init__(self, site: DynamoDBSite, seed: int, kills: int) -> None:
        super().__init__(site, seed, only_kills=True)
        self._kills = kills
        self._up_at = 0.0
        self._dynamodb = site.dynamodb
        now = time.monotonic()
        self._plan = [(now + 1.0, 1.5, self._kill), (now + 2.0, 3.0, self._kill_dynamodb)]

    def _kill_dynamodb(self) -> str:
        """Kill it, unless it has just come back: on a busy machine its start takes as long as the pause."""
        if not self._kills or time.monotonic() < self._up_at + MIN_UP_S:
            return "nothing happened"
        self._kills -= 1
        self._dynamodb.kill()
        time.sleep(self._random.uniform(0.0, 1.0))
        self._dynamodb.start()
        self._up_at = time.monotonic()
        return "DynamoDB killed"


@pytest.fixture
def site(
    tmp_path: Path, make_dynamodb: Callable[..., DynamoDBServer], make_redis: Callable[..., RedisServer]
) -> Iterator[DynamoDBSite]:
    with DynamoDBSite(tmp_path, make_dynamodb(durable=True), make_redis(), make_redis()) as site:
        yield site


def weather(site: DynamoDBSite, seed: int, *, tasks: int, seconds: float, workflows: int, kills: int) -> None:
    """Send ``tasks`` within ``seconds`` while faults happen; all of them end, and each chord fires."""
    print(f"\nseed {seed}")
    for _ in range(3):
        site.node(lease=3.0)
    site.ready()
    producer = PatientProducer(site, seed, tasks, seconds, workflows)
    storm = DynamoDBStorm(site, seed, kills)
    producer.start()
    while producer.is_alive():
        storm.tick()
    producer.join()
    for node in site.nodes:
        if not node.running:
            node.start()
    sent = producer.sent
    certain = {key: uuid for key, uuid in sent.tasks.items() if key not in sent.unsure}
    done = settled(site, list(certain.values()), patience=60)
    runs = {key: len(site.runs(key)) for key in certain}
    doubled = [key for key, count in runs.items() if count > (2 if key in sent.flaky else 1)]
    print(f"{len(certain)} tasks, {len(sent.chords)} chords, {len(doubled)} doubled, {storm.count}")
    if not done:
        site.show_logs()
    assert done, "nothing moves any more"
    assert [key for key, count in runs.items() if not count] == []
    assert site.dead() == []
    with App(site.url(), site.backend) as app:
        sums = {key: app.result(sent.tasks[key]).get(timeout=20) for key in sent.chords}
    assert sums == sent.chords


@pytest.mark.timeout(300)
def test_short(site: DynamoDBSite) -> None:
    """Some 300 tasks, 6 s of faults."""
    weather(site, seed_of_this_run(), tasks=200, seconds=6.0, workflows=1, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long(site: DynamoDBSite) -> None:
    """5,000 tasks and more in chains and chords."""
    weather(site, seed_of_this_run(), tasks=5000, seconds=90.0, workflows=5, kills=15)
