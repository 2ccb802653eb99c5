"""Machinery's Redis broker as a kombu transport: plain lists that Go shares, held under leases of our own."""

from gearmesh.transports.redis.ledger import Ledger
from gearmesh.transports.redis.transport import ClusterTransport, Transport

__all__ = ["ClusterTransport", "Ledger", "Transport"]
