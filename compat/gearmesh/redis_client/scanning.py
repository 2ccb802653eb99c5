"""Walks through the keys of a Redis, or of all nodes of a cluster, one SCAN at a time."""

from __future__ import annotations

from typing import Any

from gearmesh.redis_client.cluster import Cluster

__all__ = ["scan_step"]


def scan_step(redis: Any, cursor: str, **options: Any) -> tuple[str, list[bytes]]:
    """Send one SCAN; return the next cursor and the keys.

    Args:
        redis: a client of one server or of a cluster.
        cursor: ``""`` begins; ``""`` comes back after the last step. In a cluster it also says which node is next.
        options: of redis-py's ``scan``: ``match``, ``count``, ``_type``.
    """
    if not isinstance(redis, Cluster):
        at, keys = redis.scan(int(cursor or 0), **options)
        return str(at) if at else "", keys
    nodes = redis.masters()
    index, _, position = cursor.partition(":")
    node = int(index or 0)
    if node >= len(nodes):  # the cluster has fewer nodes than when the walk began
        return "", []
    at, keys = redis.client(nodes[node]).scan(int(position or 0), **options)
    if at:
        return f"{node}:{at}", keys
    return (f"{node + 1}:0" if node + 1 < len(nodes) else ""), keys
