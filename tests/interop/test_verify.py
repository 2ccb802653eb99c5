"""``gearmesh verify`` against a peer's worker: its tasks have the names of the peer contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearmesh.config import Config
from gearmesh.testing.peerproc import PeerProcess
from gearmesh.verify.report import Report
from gearmesh.verify.run import verify

from .scenarios import Side

#: The binding key of peers, which have no flag for another one.
PEERS_KEY = "machinery_task"


def run(broker: str, backend: str, key: str = "") -> Report:
    return verify(Config(broker=broker, backend=backend), prefix="", queue="verify", binding_key=key)


def wrong(report: Report) -> list[str]:
    return [f"{row.direction}, {row.subject}: {row.detail}" for row in report.rows if row.verdict != "agrees"]


@pytest.mark.peer
def test_a_worker_agrees_on_redis(
    worker: Side, start_peer: Callable[..., PeerProcess], fresh_url: Callable[[], str]
) -> None:
    url = fresh_url()
    start_peer(worker, url, "-mode", "worker", "-queue", "verify")
    assert wrong(run(url, url)) == []


@pytest.mark.peer
@pytest.mark.parametrize("backend", ["amqp", "redis"])
def test_a_worker_agrees_on_rabbitmq(
    worker: Side,
    backend: str,
    start_peer: Callable[..., PeerProcess],
    fresh_vhost: Callable[[], str],
    fresh_url: Callable[[], str],
) -> None:
    url = fresh_vhost()
    results = url if backend == "amqp" else fresh_url()
    start_peer(worker, url, "-mode", "worker", "-queue", "verify", "-backend", results)
    assert wrong(run(url, results, PEERS_KEY)) == []


@pytest.mark.peer
def test_a_worker_with_another_binding_key_is_named(
    start_peer: Callable[..., PeerProcess], fresh_vhost: Callable[[], str], fresh_url: Callable[[], str]
) -> None:
    url, results = fresh_vhost(), fresh_url()
    start_peer("go", url, "-mode", "worker", "-queue", "verify", "-backend", results)
    first, *_ = wrong(run(url, results))
    assert first.startswith("queue, verify: queue 'verify' has ")
    assert "has no queue bound with the key 'verify': the queue is not bound to this exchange" in first
