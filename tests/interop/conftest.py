"""Peers, one Redis for all of them, and the line that says which peers there were."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.account import Account
from tests.support.servers import RabbitServer, RedisServer

from gearmesh.testing.peerproc import PeerProcess, python_peer

from .matrix import matrix
from .peers import Peers
from .scenarios import Side

#: The program that holds another implementation, with flags of its own if it needs any.
PEER = shlex.split(os.environ.get("GEARMESH_PEER", ""))
SIDES: tuple[Side, ...] = ("go", "python") if PEER else ("python",)
DATABASES = 256


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``client`` and ``worker`` run through every side there is."""
    for end in ("client", "worker"):
        if end in metafunc.fixturenames:
            metafunc.parametrize(end, SIDES, ids=[f"{end}-{side}" for side in SIDES], scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("peer") and not PEER:
            item.add_marker(pytest.mark.skip(reason="GEARMESH_PEER is not set"))


def pytest_configure(config: pytest.Config) -> None:
    ways = " ".join(f"{client}→{worker}" for client in SIDES for worker in SIDES)
    if PEER:
        Account.of(config).say(f"interop: {ways}, with the peer {Path(PEER[0]).name}")
    else:
        Account.of(config).say(f"interop: recordings and {ways} only, since GEARMESH_PEER is not set")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of scenarios under CI, or where GEARMESH_MATRIX is set."""
    if not (os.environ.get("CI") or os.environ.get("GEARMESH_MATRIX")):
        return
    found = []
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            found.append((report.nodeid, outcome, reason.removeprefix("Skipped: ")))
    for line in matrix(found):
        terminalreporter.write_line(line)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Have a line printed at the end of the run: its name and its value."""
    account = Account.of(request.config)
    return lambda name, value: account.say(f"interop: {name}: {value}")


@pytest.fixture(scope="session")
def interop_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A Redis that no test flushes, with a database for each peer. (Skips if the run has no Redis.)"""
    with RedisServer(args=["--databases", str(DATABASES)]) as server:
        yield server


@pytest.fixture(scope="session")
def fresh_url(interop_redis: RedisServer) -> Callable[[], str]:
    """Gives URLs of unused databases."""
    numbers = itertools.count()
    return lambda: interop_redis.url_of(next(numbers))


@pytest.fixture(scope="session")
def fresh_vhost(rabbitmq_server: RabbitServer) -> Callable[[], str]:
    """Gives URLs of new vhosts."""
    return lambda: rabbitmq_server.url_of(rabbitmq_server.vhost())


@pytest.fixture(scope="session")
def peers(fresh_url: Callable[[], str]) -> Iterator[Peers]:
    """Starts peers of either side; those that are shared live to the end of the run."""
    with ExitStack() as stack:
        yield Peers({"go": PEER, "python": python_peer()}, fresh_url, stack)


@pytest.fixture
def start_peer(fresh_url: Callable[[], str]) -> Iterator[Callable[..., PeerProcess]]:
    """Start a peer of the test's own: ``start_peer(side, url, *flags)``."""
    with ExitStack() as stack:
        own = Peers({"go": PEER, "python": python_peer()}, fresh_url, stack, abrupt=True)
        yield own.start
