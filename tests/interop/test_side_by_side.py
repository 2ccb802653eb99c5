"""A Go worker and a Python worker on one Redis, at the same time."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import redis

from gearmesh.testing.peerproc import PeerProcess
from gearmesh.wire.names import QueueKeys

from .peers import Peers
from .scenarios import Json, Side, arg, err, i64, ok, sig, text

pytestmark = pytest.mark.peer
StartPeer = Callable[..., PeerProcess]


class Workers(NamedTuple):
    """A worker of each side, each on the queue of its name, and where they are."""

    url: str
    go: PeerProcess
    python: PeerProcess


@pytest.fixture(scope="module")
def workers(peers: Peers, fresh_url: Callable[[], str]) -> Workers:
    url = fresh_url()
    go = peers.launch("go", url, "-mode", "worker", "-queue", "go")
    python = peers.launch("python", url, "-mode", "worker", "-queue", "python")
    go.wait_ready()
    python.wait_ready()
    return Workers(url, go, python)


@pytest.fixture
def ask(client: Side, workers: Workers, peers: Peers) -> Callable[..., Json]:
    """A client of either side. No worker reads its own queue, so every signature names a queue."""
    return peers.client(client, workers.url).ask


def on(queue: str, signature: Json) -> Json:
    return {**signature, "RoutingKey": queue}


def same(answer: Json, want: Json) -> None:
    assert {key: answer.get(key) for key in want} == want, answer


@pytest.mark.parametrize("sides", [("go", "python"), ("python", "go")], ids=["go-first", "python-first"])
def test_chain_whose_steps_alternate(sides: tuple[Side, Side], ask: Callable[..., Json]) -> None:
    one, two = sides
    steps = [
        on(one, sig("add", i64(1), i64(2))),
        on(two, sig("add", i64(10))),
        on(one, sig("multiply", i64(4))),
        on(two, sig("add", i64(-2))),
        on(one, sig("echo_int64")),
    ]
    same(ask(Op="chain", Sigs=steps), ok(50, types=["int64"]))


@pytest.mark.parametrize("worker_side", ["go", "python"])
def test_every_type_crosses_in_a_chain(worker_side: Side, ask: Callable[..., Json]) -> None:
    """A result of one side's is an argument of the other's."""
    other = "python" if worker_side == "go" else "go"
    for name, kind, value in (
        ("int8", "int8", -128),
        ("uint64", "uint64", 2**64 - 1),
        ("float32", "float32", 0.1),
        ("float64", "float64", 5e-324),
        ("string", "string", "<é>\u2028"),
        ("bool", "bool", True),
        ("bytes", "[]byte", "aGkA/w=="),
        ("strings", "[]string", ["a", ""]),
        ("int16s", "[]int16", [-(2**15), 2**15 - 1]),
        ("float32s", "[]float32", [0.1, 1e-45]),
        ("bools", "[]bool", []),
    ):
        steps = [on(worker_side, sig(f"echo_{name}", arg(kind, value)))]
        steps += [on(side, sig(f"echo_{name}")) for side in (other, worker_side, other)]
        same(ask(Op="chain", Sigs=steps), ok(value))


@pytest.mark.parametrize("failing", ["go", "python"])
def test_error_handler_on_the_other_side(failing: Side, ask: Callable[..., Json]) -> None:
    other = "python" if failing == "go" else "go"
    handler = on(other, sig("on_error", text("more"), UUID=f"task_{uuid.uuid4()}"))
    same(ask(Op="call", Sig=on(failing, sig("fail", text("<no>"), OnError=[handler]))), err("<no>"))
    handled = json.loads(final_state(ask, handler["UUID"])["Raw"])
    assert handled["Results"] == [{"Type": "string", "Value": "handled:<no>,more"}]


def final_state(ask: Callable[..., Json], task: str) -> Json:
    deadline = time.monotonic() + 60
    while (answer := ask(Op="state", UUID=task)).get("State") != "SUCCESS":
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)
    return answer


@pytest.mark.parametrize("callback", ["go", "python"])
def test_chords_across_both_fire_once(callback: Side, workers: Workers, ask: Callable[..., Json]) -> None:
    """Members on both sides finish at the same time and race for one trigger."""
    for worker in (workers.go, workers.python):
        worker.ask(Op="await", Count=0)
    rounds = 15
    for _ in range(rounds):
        members = [on(("go", "python")[n % 2], sig("echo_int64", i64(n))) for n in range(10)]
        same(ask(Op="chord", Sigs=members, Callback=on(callback, sig("add"))), ok(45))
    runner = workers.go if callback == "go" else workers.python
    same(runner.ask(Op="await", Count=rounds, TimeoutMs=60_000), {"OK": True, "N": rounds})
    for worker in (workers.go, workers.python):
        same(worker.ask(Op="await", Count=1, TimeoutMs=100), {"OK": False, "N": 0})


def test_retries_stay_on_their_side(ask: Callable[..., Json]) -> None:
    """Delayed tasks lie in one set for all: either worker may move the other's to its queue."""
    steps = [on(side, sig("retry_later", text(f"{side}"), i64(50))) for side in ("go", "python")]
    answer = ask(Op="group", Sigs=steps, Concurrency=2)
    same(answer, ok("done", "done"))


# --- one queue, tasks that only one of them knows -------------------------------------------------

EACH = 1000


def test_unregistered_mixture(
    start_peer: StartPeer, fresh_url: Callable[[], str], note: Callable[[str, str], None]
) -> None:
    url, queue = fresh_url(), "mixed"
    go_only, python_only = sig("add", i64(1)), sig("noop")
    clients = [start_peer(side, url, "-mode", "client", "-queue", queue) for side in ("go", "python")]
    go = start_peer("go", url, "-mode", "worker", "-queue", queue, "-only", "add")
    alone = latency(clients[0], go_only)
    same(go.ask(Op="await", Count=0), {"OK": True})
    python = start_peer("python", url, "-mode", "worker", "-queue", queue, "-only", "noop")

    with ThreadPoolExecutor(2) as pool:
        floods = [
            pool.submit(peer.ask, Op="flood", Sig=task, Count=EACH, Concurrency=2)
            for peer, task in zip(clients, (go_only, python_only), strict=True)
        ]
        for flood in floods:
            same(flood.result(), {"OK": True, "N": EACH})
    for worker in (go, python):
        same(worker.ask(Op="await", Count=EACH, TimeoutMs=60_000), {"OK": True, "N": EACH})

    beside = latency(clients[0], go_only)
    same(go.ask(Op="await", Count=1, TimeoutMs=1000), {"OK": True, "N": len(beside)})
    for worker in (go, python):  # nothing ran twice
        same(worker.ask(Op="await", Count=1, TimeoutMs=100), {"OK": False, "N": 0})
    keys = QueueKeys(queue)
    with redis.Redis.from_url(url) as store:
        assert not store.exists(queue, keys.aside, keys.dead)
    note(
        "Go-only tasks on a queue shared with Python",
        f"p99 {p99(alone):.1f} ms alone, {p99(beside):.1f} ms beside a Python worker: "
        f"{p99(beside) - p99(alone):+.1f} ms (median {statistics.median(beside) - statistics.median(alone):+.1f} ms)",
    )


def latency(client: PeerProcess, task: Json) -> list[float]:
    """Milliseconds of 200 calls, one every 5 ms."""
    answer = client.ask(Op="latency", Sig=task, Count=200, GapMs=5, TimeoutMs=20_000)
    same(answer, {"OK": True, "N": 200})
    return [float(ms) for ms in answer["Results"]]


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
