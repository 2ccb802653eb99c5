"""Readable failures inside the contract suites, and the places where a Redis may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.servers import ElasticMQServer

pytest.register_assert_rewrite("gearmesh.testing.contracts")

from .amqp_backends import open_amqp  # noqa: E402, F401
from .places import (  # noqa: E402, F401
    cluster_place,
    place,
    sentinel_place,
    socket_place,
    tls_cluster,
    tls_cluster_place,
    tls_place,
    tls_sentinel_place,
    tls_sentinels,
)
from .sqs_queues import Queues  # noqa: E402

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked slow to the long form: ``GEARMESH_CONTRACTS=long``."""
    if os.environ.get("GEARMESH_CONTRACTS") == "long":
        return
    left = {item for item in items if item.path.parent == HERE and item.get_closest_marker("slow")}
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


@pytest.fixture
def sqs_queues(elasticmq: ElasticMQServer, monkeypatch: pytest.MonkeyPatch) -> Queues:
    """Queues on the run's SQS, whose endpoint is allowed."""
    monkeypatch.setenv("DISABLE_STRICT_SQS_CHECK", "true")
    return Queues(elasticmq)
