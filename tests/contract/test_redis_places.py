"""The contracts in every place where a Redis may be: the lock's in each kind of place, the rest in the long form.

The tests of one Redis (test_transports.py, test_backends.py) and of a cluster (test_redis_cluster.py) show the features
that all places share. test_redis_topologies.py shows that gearmesh connects correctly in each place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.lock import Claim, Lock
from gearmesh.locks.registry import open_lock as open_url
from gearmesh.testing.contracts import BackendContract, LockContract, TransportContract
from gearmesh.testing.contracts.support import Connect

from .places import PLACES, Place

everywhere = pytest.mark.parametrize("place", PLACES, indirect=True)
#: One of each kind of client; the others differ from these in how they connect.
KINDS = ("sentinel_place", "tls_place", "cluster_place")
each_kind = pytest.mark.parametrize(
    "place",
    [pytest.param(name, marks=[] if name in KINDS else pytest.mark.slow) for name in PLACES],
    indirect=True,
)


@each_kind
class TestLock(LockContract):
    @pytest.fixture
    def open_lock(self, place: Place) -> Callable[[], Lock]:
        return lambda: open_url(place.url, settings=place.settings)

    def test_a_scheduler_that_lost_one_run_can_win_the_next(self, lock: Lock, claim: Claim) -> None:
        """All claims go over one connection."""
        assert lock.take(claim) is True
        assert lock.take(replace(claim, holder="two")) is False
        assert lock.fired(claim.key) == claim.due_ns
        assert lock.take(replace(self.after(claim, 1), holder="two")) is True


@everywhere
@pytest.mark.slow
class TestTransport(TransportContract):
    @pytest.fixture
    def connect(self, place: Place) -> Connect:
        return place.connect

    @pytest.fixture
    def enlistable(self, place: Place, request: pytest.FixtureRequest) -> Iterator[Backend | None]:
        if "cluster" in request.node.callspec.id:
            yield None
            return
        backend = place.backend()
        yield backend
        backend.close()


@everywhere
@pytest.mark.slow
class TestBackend(BackendContract):
    @pytest.fixture
    def open_backend(self, place: Place) -> Callable[..., Backend]:
        return place.backend
