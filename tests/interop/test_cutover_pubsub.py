"""The steps that ``gearmesh cutover`` prints for Pub/Sub, taken with real processes while calls come all the time."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh import App
from gearmesh.shadow import SHADOW_QUEUE, copy_calls
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually

from .scenarios import Json, Side, i64, sig

GO_QUEUE, OWN = "machinery_tasks", "python_tasks"
#: Calls of each caller that are answered between two steps.
CALLS = 10

SHOP = """
import os

import redis

from gearmesh import App, current
from gearmesh.shadow.trial import in_shadow

app = App(broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"])
runs = redis.Redis.from_url(os.environ["SHOP_RUNS"])


@app.task(queue="python_tasks")
def add(*numbers: int) -> int:
    if not in_shadow():
        runs.hincrby("runs", current().signature.UUID)
    return sum(numbers)
"""


class Shop:
    """A folder with the app ``shop``, in which a user types commands.

    Args:
        folder: gets the app.
        broker, backend: of the app. runs: the URL of a Redis database in which the task counts its runs.
    """

    def __init__(self, folder: Path, broker: str, backend: str, runs: str) -> None:
        (folder / "shop.py").write_text(SHOP)
        self._folder = folder
        self.log = folder / "output.log"
        self.log.touch()
        self._env = os.environ | {"SHOP_BROKER": broker, "SHOP_BACKEND": backend, "SHOP_RUNS": runs}

    def start(self, words: str) -> subprocess.Popen[bytes]:
        """Begin a command; its output goes into :attr:`log`."""
        command = [sys.executable, "-m", *shlex.split(words)]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, env=self._env, stdout=log, stderr=log)

    def run(self, words: str) -> str:
        """Run a command to its end, and return its output."""
        offset = len(self.log.read_text())
        with self.start(words) as process:
            process.wait(60)
        output = self.log.read_text()[offset:]
        assert process.returncode == 0, output
        return output


class Caller:
    """Makes one call after the other in a thread, and checks each result.

    Args:
        call: makes the n-th call through a queue, waits for the result, and returns it: n + 1.
    """

    def __init__(self, call: Callable[[int, str], object]) -> None:
        self._call = call
        #: The queue of the calls from now on.
        self.queue = GO_QUEUE
        #: Calls that have been answered.
        self.answered = 0
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="caller", daemon=True)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait for the answer to the last call."""
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        for n in itertools.count():
            if self._stop.is_set():
                return
            try:
                assert self._call(n, self.queue) == n + 1
            except BaseException as exc:
                self._failure = exc
                return
            self.answered += 1

    def has_answers(self) -> None:
        """Wait for the answers to the call that is under way, and to some later ones."""
        wanted = self.answered + 1 + CALLS

        def reached() -> bool:
            if self._failure is not None:
                raise self._failure
            return self.answered >= wanted

        eventually(reached, what=f"{CALLS} answers through {self.queue}")


def command(steps: str, words: str) -> str:
    """The one command among the printed steps that begins so."""
    (found,) = set(re.findall(rf"{words}[^\n';]*", steps))
    return str(found)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_task_moves_and_comes_back(
    worker: Side,
    pubsub_emulator: PubSubServer,
    start_peer: Callable[..., PeerProcess],
    fresh_url: Callable[[], str],
    tmp_path: Path,
    stack: ExitStack,
) -> None:
    """In each step, and on the way back, each call runs once and is answered. Go's other task goes on all the time."""
    project, backend, counts = PubSubProject(), fresh_url(), fresh_url()
    broker = project.queue(GO_QUEUE, "workers")
    shop = Shop(tmp_path, broker, backend, counts)

    def start_go(*flags: str) -> PeerProcess:
        return start_peer(worker, broker, "-mode", "worker", "-backend", backend, *flags)

    def runs_of(go: PeerProcess) -> int:
        return int(go.ask(Op="await", Count=0)["N"])

    def by_go(signature: Callable[[int], Json]) -> Callable[[int, str], object]:
        peer = start_peer(worker, broker, "-mode", "client", "-backend", backend)

        def call(n: int, queue: str) -> object:
            asked = {**signature(n), "RoutingKey": queue}
            return peer.ask(Op="call", Sig=asked, TimeoutMs=30_000)["Results"][0]

        return call

    app = stack.enter_context(App(broker, backend))
    remotes = {
        queue: app.remote("add", "int64", "int64", results="int64", queue=queue) for queue in (GO_QUEUE, OWN)
    }
    steps = shop.run("gearmesh cutover shop add")
    go = start_go()
    of_go = stack.enter_context(Caller(by_go(lambda n: sig("add", i64(n), i64(1)))))
    other = stack.enter_context(Caller(by_go(lambda n: sig("multiply", i64(n + 1)))))
    of_python = stack.enter_context(Caller(lambda n, queue: remotes[queue].delay(n, 1).get(timeout=30)))
    callers = (of_go, of_python, other)

    def go_on() -> None:
        for caller in callers:
            caller.has_answers()

    def send_to(queue: str) -> None:
        for caller in (of_go, of_python):
            caller.queue = queue
            go_on()

    # Before
    assert f"Make the topic {SHADOW_QUEUE} and a subscription of it with the same name." in steps
    project.queue(SHADOW_QUEUE)
    copies = copy_calls(app, ["add"], 1.0)
    shown = shop.run(f"{command(steps, 'gearmesh shadow')} --count {CALLS} --least {CALLS} --seconds 60")
    assert "add: ready to switch" in shown
    copies.close()
    # 1. Add Python workers
    assert f"Make the topic {OWN} and a subscription of it with the same name" in steps
    project.queue(OWN)
    python = stack.enter_context(shop.start(command(steps, "gearmesh worker")))
    stack.callback(python.terminate)
    go_on()
    # 2. Send it to python_tasks
    send_to(OWN)
    # 3. Take the task out of Go
    by_the_first = runs_of(go)
    go, before = start_go("-skip", "add"), go
    before.close()
    go_on()
    assert runs_of(go) == 0
    # A message that comes later waits until the task is registered in Go again.
    late = remotes[GO_QUEUE].delay(20, 22)
    go_on()
    assert not late.ready()
    # To go back after step 3, the last part of which is the way back before step 3
    go, before = start_go(), go
    before.close()
    assert late.get(timeout=60) == 42
    send_to(GO_QUEUE)
    python.terminate()
    assert python.wait(60) == 0
    go_on()
    for caller in callers:
        caller.stop()

    with redis.Redis.from_url(counts) as store:
        by_python = {uuid: int(count) for uuid, count in store.hgetall("runs").items()}
    assert set(by_python.values()) == {1}
    calls = of_go.answered + of_python.answered + 1
    assert by_the_first + runs_of(go) + len(by_python) == calls
    assert len(by_python) > 3 * CALLS
    go.close()
    assert [project.take(name) for name in ("workers", OWN)] == [[], []]
