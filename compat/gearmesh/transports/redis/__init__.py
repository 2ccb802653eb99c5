"""Machinery's Redis broker as a kombu transport: plain lists that Go shares, held under leases of our own."""

from gearmesh.transports.redis.transport import ClusterTransport, Transport
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries

__all__ = ["ClusterTransport", "RedisUnackedDeliveries", "Transport"]
