"""The deployment in which the tests of ``gearmesh cutover`` take the printed steps, while calls come all the time."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from gearmesh import App, AsyncResult
from gearmesh.shadow import SHADOW_QUEUE, copy_calls
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.testing.waiting import eventually

from .scenarios import Json, i64, sig

__all__ = ["CALLS", "GO_QUEUE", "OWN", "Callers", "GoService", "Shop", "command", "compare"]

GO_QUEUE, OWN = "machinery_tasks", "python_tasks"
#: Calls of each caller that are answered between two steps.
CALLS = 10
#: Seconds for the answer to one call. A message that a stopping worker has received comes back only later.
ANSWER_TIMEOUT_S = 60

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
        self._runs = runs
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
        command = [sys.executable, "-m", *shlex.split(words)]
        done = subprocess.run(
            command, cwd=self._folder, env=self._env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def runs(self) -> dict[str, int]:
        """Return the number of runs of each call of the Python task, by the call's UUID."""
        with redis.Redis.from_url(self._runs) as store:
            return {uuid.decode(): int(count) for uuid, count in store.hgetall("runs").items()}


class GoService:
    """The Go service, whose worker knows all tasks at first.

    Args:
        start: starts a peer of its side with these flags.
    """

    def __init__(self, start: Callable[..., PeerProcess]) -> None:
        self._start = start
        self._runs = 0
        self._worker = start("-mode", "worker")

    def deploy(self, *flags: str) -> None:
        """Start the worker's next version, and then stop the one before."""
        before, worker = self._worker, self._start("-mode", "worker", *flags)
        self.runs()
        self._worker = worker
        before.close()

    def runs(self) -> int:
        """Return the number of calls of ``add`` that the workers have run so far."""
        self._runs += int(self._worker.ask(Op="await", Count=0)["N"])
        return self._runs

    def call(self, signature: Callable[[int], Json]) -> Callable[[int, str], object]:
        """A function that has a process of the service make the n-th call through a queue, and returns the result."""
        peer = self._start("-mode", "client")

        def call(n: int, queue: str) -> object:
            asked = {**signature(n), "RoutingKey": queue}
            return peer.ask(Op="call", Sig=asked, TimeoutMs=1000 * ANSWER_TIMEOUT_S)["Results"][0]

        return call

    def close(self) -> None:
        """Stop the worker."""
        self._worker.close()


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

        eventually(reached, 2 * ANSWER_TIMEOUT_S, what=f"{CALLS} answers through {self.queue}")


class Callers:
    """One caller in Go and one in Python call ``add``, the task that moves; a third calls a task that stays in Go.

    Args:
        service: the Go service.
        broker, backend: of the caller in Python.
        stack: stops them.
    """

    def __init__(self, service: GoService, broker: str, backend: str, stack: ExitStack) -> None:
        self._urls = (broker, backend)
        app = stack.enter_context(App(broker, backend))
        self._remotes = {
            queue: app.remote("add", "int64", "int64", results="int64", queue=queue)
            for queue in (GO_QUEUE, OWN)
        }
        self._of_go = stack.enter_context(Caller(service.call(lambda n: sig("add", i64(n), i64(1)))))
        self._of_python = stack.enter_context(
            Caller(lambda n, queue: self._remotes[queue].delay(n, 1).get(timeout=ANSWER_TIMEOUT_S))
        )
        self._other = stack.enter_context(Caller(service.call(lambda n: sig("multiply", i64(n + 1)))))
        self._all = (self._of_go, self._of_python, self._other)
        self._copied = 0

    def go_on(self) -> None:
        """Wait until each has got answers to calls that it made from now on."""
        for caller in self._all:
            caller.has_answers()

    def send_to(self, queue: str) -> None:
        """Have the two that call ``add`` send it to this queue, one after the other."""
        for caller in (self._of_go, self._of_python):
            caller.queue = queue
            self.go_on()

    @contextmanager
    def copied(self) -> Iterator[None]:
        """One more caller in Python calls ``add`` meanwhile, and its calls are copied for a shadow run."""
        with App(*self._urls) as app:
            copies = copy_calls(app, ["add"], 1.0)
            add = app.remote("add", "int64", "int64", results="int64", queue=GO_QUEUE)
            with Caller(lambda n, _: add.delay(n, 1).get(timeout=ANSWER_TIMEOUT_S)) as caller:
                yield
            copies.close()
        self._copied += caller.answered

    def send_late(self) -> AsyncResult[int]:
        """Call ``add`` once through Go's queue: 20 + 22."""
        return self._remotes[GO_QUEUE].delay(20, 22)

    def stop(self) -> int:
        """Wait for the answers to all calls; return the number of those of ``add``."""
        for caller in self._all:
            caller.stop()
        return self._of_go.answered + self._of_python.answered + self._copied


def command(steps: str, words: str) -> str:
    """The one command among the printed steps that begins so."""
    (found,) = set(re.findall(rf"{words}[^\n';]*", steps))
    return str(found)


def compare(shop: Shop, steps: str, callers: Callers) -> None:
    """Take the printed steps that come before the first one: copy calls, compare the answers, and delete the copies."""
    assert f"Copy a share of the calls of add to {SHADOW_QUEUE}" in steps
    with callers.copied():
        shadow = f"{command(steps, 'gearmesh shadow')} --count {CALLS} --least {CALLS} --seconds 60"
        assert "add: ready to switch" in shop.run(shadow)
    assert f"deleted from {SHADOW_QUEUE}" in shop.run(f"{command(steps, 'gearmesh purge')} --yes")
