"""Bounds the unacked deliveries of a channel: kombu's QoS, which is the prefetch."""

from __future__ import annotations

from typing import Any

from kombu.transport import virtual

from gearmesh.redis_client.chunks import MAX_ENTRIES
from gearmesh.transports.redis.message import Message

__all__ = ["QoS"]


class QoS(virtual.QoS):  # type: ignore[misc]
    """Counts the channel's unacked deliveries; they stay in Redis, so nothing is restored here."""

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        return self.credit() > 0

    def credit(self) -> int:
        """Return how many more messages the channel may take now."""
        most = self.prefetch_count
        return MAX_ENTRIES if not most else int(most) - len(self.channel.unacked.open)

    def append(self, message: Message, delivery_tag: Any) -> None:
        pass

    def ack(self, delivery_tag: int) -> None:
        self.channel.settle_one(delivery_tag, "ack")

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        self.channel.settle_one(delivery_tag, "head" if requeue else "ack")

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        pass

    def restore_unacked(self) -> list[Any]:
        self.channel.put_back_all()
        return []
