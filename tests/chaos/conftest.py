"""A site a test: servers, workers, and all of it gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.servers import RedisServer

from .harness import Site
from .rough import rough  # noqa: F401

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests marked slow to the long form."""
    if os.environ.get("GEARMESH_CHAOS") != "long":
        for item in items:
            if HERE in item.path.parents and item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="GEARMESH_CHAOS=long runs it"))


@pytest.fixture
def site(tmp_path: Path, make_redis: Callable[..., RedisServer]) -> Iterator[Site]:
    """A broker that keeps nothing on disk, and a server that counts."""
    with Site(tmp_path, make_redis(), make_redis()) as site:
        yield site


@pytest.fixture
def durable_site(tmp_path: Path, make_redis: Callable[..., RedisServer]) -> Iterator[Site]:
    """The same with an append-only file, so that it may be restarted."""
    with Site(tmp_path, make_redis(aof="always"), make_redis()) as site:
        yield site
