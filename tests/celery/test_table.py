"""The interop suite's table of scenarios with a Celery app at one end, and a peer at the other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from tests.interop.scenarios import SCENARIOS, Json, Scenario, Side
from tests.interop.test_scenarios import Run, ids, take

from gearmesh.testing.peerproc import PeerProcess, python_peer

from .client import CeleryClient
from .conftest import PEER, WAYS, Way
from .contract import make_contract_app
from .processes import CeleryProcess
from .table import End, skipped, steps_for, table

#: Rows that want a Celery worker of their own, too.
OWN = frozenset({"custom queue", "flood"})
URLs = tuple[str, str, str]


class Counting:
    """A Celery worker that is asked how many tasks it has run."""

    def __init__(self, process: CeleryProcess) -> None:
        self._process = process
        self._before = 0

    def ask(self, request: Json) -> Json:
        """The peer's verb ``await``."""
        assert request["Op"] == "await"
        deadline = time.monotonic() + request["TimeoutMs"] / 1000
        while True:
            log = self._process.log()
            count = log.count("Task noop[") and log.count("] succeeded in") - self._before
            if count >= request["Count"]:
                self._before += count
                return {"OK": True, "N": count}
            if time.monotonic() > deadline:
                return {"OK": False, "N": count, "Err": "Timeout reached"}
            time.sleep(0.02)


@dataclass
class Ends:
    """Starts the programs of a scenario on one broker: a Celery worker, a Celery client, a peer."""

    way: Way
    urls: URLs
    stack: ExitStack

    @property
    def side(self) -> Side:
        """The end that is in Go's place."""
        return "go" if self.way.go else "python"

    def peer(self, *flags: str) -> PeerProcess:
        flags = ("-broker", self.urls[0], "-backend", self.urls[1], "-log", "error", *flags)
        return self.stack.enter_context(PeerProcess([*PEER, *flags] if self.way.go else python_peer(*flags)))

    def worker(self, queue: str, read: str = "", go_queue: str = "") -> CeleryProcess:
        """A Celery worker, of the contract's tasks if Go does not run them."""
        words = ("worker", "-P", self.way.pool, "-c", "4", "-l", "info", "-n", f"{queue}@%h")
        words += ("-Q", read) if read else ()
        env = {"CONTRACT_BROKER": self.urls[0], "CONTRACT_BACKEND": self.urls[1]}
        env |= {"CONTRACT_QUEUE": queue, "CONTRACT_GO_QUEUE": go_queue}
        return self.stack.enter_context(
            CeleryProcess(*words, broker="", env=env, app="tests.celery.contract:app")
        )

    def client(self, queue: str, go_queue: str) -> CeleryClient:
        """A Celery app that has none of the contract's tasks."""

        def make(retry_count: int) -> Any:
            app = make_contract_app(*self.urls[:2], queue, go_queue, retry_count)
            self.stack.callback(app.close)
            return app

        return CeleryClient(make)


@dataclass
class Pair:
    """The parts that the scenarios of a way share. ``celery``: the end that is a Celery app."""

    celery: End
    ends: Ends
    queue: str
    client: Any
    worker: Any


@pytest.fixture(scope="module", params=["client", "worker"])
def celery(request: pytest.FixtureRequest) -> End:
    found: End = request.param
    return found


@pytest.fixture(scope="module", params=WAYS, ids=str)
def pair(request: pytest.FixtureRequest, celery: End, broker_of: Callable[[Way], URLs]) -> Iterator[Pair]:
    with ExitStack() as stack:
        ends = Ends(request.param, broker_of(request.param), stack)
        if celery == "worker":
            client = ends.peer("-mode", "client", "-queue", "to-celery")
            yield Pair(celery, ends, "to-celery", client, Counting(ends.worker("to-celery")))
            return
        # Follow-up tasks of a Go task that only Celery can express go through a Celery worker.
        ends.worker("helpers", go_queue="to-go")
        worker = ends.peer("-mode", "worker", "-queue", "to-go")
        yield Pair(celery, ends, "to-go", ends.client("helpers", "to-go"), worker)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=ids)
def test_scenario(scenario: Scenario, pair: Pair) -> None:
    scenario = next(row for row in table(pair.ends.way.broker) if row.name == scenario.name)
    if why := skipped(scenario, pair.celery):
        pytest.skip(why)
    client, worker, queue = pair.client, pair.worker, pair.queue
    with ExitStack() as own:
        ends = Ends(pair.ends.way, pair.ends.urls, own)
        # A Celery worker works on after an argument that it cannot read.
        if scenario.worker is not None and (pair.celery == "client" or scenario.name in OWN):
            queue = f"own-{uuid.uuid4().hex[:8]}"
        run = Run(queue)
        if queue != pair.queue and pair.celery == "worker":
            worker = Counting(ends.worker(queue, run.fill("{other}") if scenario.worker else ""))
        elif queue != pair.queue and not scenario.refused("python"):
            flags = [run.fill(flag) for flag in scenario.worker or ()]
            worker = ends.peer("-mode", "worker", "-queue", queue, *flags)
        for step, want in steps_for(scenario, pair.celery, ends.side, pair.ends.way.broker):
            take(step, want, run, worker if step.to == "worker" else client)
