"""Tell ``pytest -n`` the tests that run in one process, and the order in which it hands tests out.

Tests that share a slow fixture run in one process, one after another; a test without such a fixture is handed out by
itself. A group is known by the tests' names alone (pytest-xdist's own mark ``xdist_group`` has no effect
with pytest 9.2, https://github.com/pytest-dev/pytest-xdist/issues/1386).
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

__all__ = ["Groups", "group_of"]

#: Patterns of tests' names; the first that matches a test decides its group.
_RULES = [
    # A Redis Cluster, or sentinels, for the tests of a class or of a place.
    re.compile(r"^tests/contract/test_redis_cluster\.py"),
    re.compile(r"^tests/contract/test_redis_(?:topologies|places)\.py::\w+(?:.*\[(?P<place>\w+_place))?"),
    # A Celery worker and a peer for each broker, backend and pool.
    re.compile(r"^tests/celery/(?!test_table).*\[(?P<way>[\w+]+-(?:threads|prefork)-(?:go|python))"),
    # Each test has servers of its own, or shares such as start quickly; RabbitMQ serves so many tests that each process
    # has one.
    re.compile(r"^tests/(?:contract|chaos)/.*"),
    # Anything else: the tests of a file.
    re.compile(r"^[^:]*"),
]


def group_of(nodeid: str) -> str:
    """The name of the group of a test."""
    for rule in _RULES:
        if match := rule.match(nodeid):
            return next((name for name in match.groups() if name), match[0])
    return nodeid


class Groups(LoadScopeScheduling):
    """Hands out groups in the order of the files: ``testpaths`` begins with the long tests, which mostly wait."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = (
            False  # else the groups with the most tests, the quickest ones, go first
        )

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
