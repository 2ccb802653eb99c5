"""Workers for ``rough_app``, in any pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gearmesh.testing.waiting import eventually

from .harness import Site
from .nodes import Node

__all__ = ["Rough", "RoughNode", "rough"]

Rough = Callable[..., "RoughNode"]


class RoughNode(Node):
    """A worker with children: with the pool of processes there are several."""

    def __init__(self, site: Site, log: Path, pool: str, *options: str, concurrency: int = 4) -> None:
        words = ["--pool", pool, *options]
        super().__init__(
            site.url(), site.counter.port, log, concurrency=concurrency, options=words, backend=site.backend
        )
        self._command[self._command.index("chaos_app:app")] = "rough_app:app"

    def children(self) -> list[psutil.Process]:
        """The processes that run tasks."""
        found = [each for each in psutil.Process(self.pid).children() if _is_child(each)]
        self._children.update({each.pid: each for each in found})
        return found

    def wait_for_children(self, count: int) -> list[psutil.Process]:
        """Wait until there are so many child processes, and return them."""
        return eventually(lambda: len(found := self.children()) == count and found, what=f"{count} children")  # type: ignore[return-value]

    def close(self) -> None:
        if self.running:
            self.children()
        super().close()


def _is_child(process: psutil.Process) -> bool:
    try:
        return "gearmesh.worker.child" in process.cmdline()
    except psutil.Error:
        return False


@pytest.fixture
def rough(site: Site, tmp_path: Path) -> Iterator[Rough]:
    nodes: list[RoughNode] = []

    def start(pool: str, *options: str, concurrency: int = 4) -> RoughNode:
        log = tmp_path / f"rough{len(nodes)}.log"
        node = RoughNode(site, log, pool, *options, concurrency=concurrency)
        nodes.append(node)
        site.nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.close()
