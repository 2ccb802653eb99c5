"""Tells if a queue is worked off, without a walk through all the states in Redis."""

from __future__ import annotations

import redis

from gearmesh.wire.names import QueueKeys

__all__ = ["drained"]


def drained(client: redis.Redis, queue: str) -> bool:
    """Return True if no message is in the queue, and no consumer holds one of it."""
    if client.llen(queue):
        return False
    keys = QueueKeys(queue)
    return not any(
        client.hlen(keys.held(name)) + client.llen(keys.arrived(name))
        for name in map(bytes.decode, client.hkeys(keys.consumers))
    )
