"""The order in which a consumer of several queues takes from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from gearmesh.errors import ConfigError

__all__ = ["QueueOrder", "QueuePicker", "picker_of"]

#: ``"fair"``: equal turns; ``"strict"``: the first queue as long as it has messages, then the next; or a weight of 1 to
#: 1000 for each queue, 1 for those without one.
QueueOrder = Literal["fair", "strict"] | Mapping[str, int]


class QueuePicker:
    """Orders the queues of each turn, and bounds how many messages each may give in it.

    This is smooth weighted round robin: over any stretch of turns each queue comes first in proportion to its weight,
    spread out evenly. Equal weights are a plain rotation.

    Args:
        weights: weight by queue; a queue without one has weight 1.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = weights
        self._credit: dict[str, int] = {}

    def turn(self, queues: Sequence[str], credit: int) -> list[tuple[str, int]]:
        """Begin a turn: return the queues in its order, each with the number of messages that it may give.

        The numbers add up to ``credit`` or more, so the caller has to count the credit down itself.

        Args:
            queues: the queues to choose from.
            credit: how many messages the caller has room for.
        """
        weight = {queue: self._weights.get(queue, 1) for queue in queues}
        total = sum(weight.values())
        credits = self._credit = {queue: self._credit.get(queue, 0) + weight[queue] for queue in queues}
        ranked = sorted(queues, key=lambda queue: -credits[queue])
        if ranked:
            credits[ranked[0]] -= total
        return [(queue, -(-credit * weight[queue] // total)) for queue in ranked]


class _StrictPicker(QueuePicker):
    """Takes from the first queue as long as it has messages, then from the second, and so on."""

    def __init__(self) -> None:
        super().__init__({})

    def turn(self, queues: Sequence[str], credit: int) -> list[tuple[str, int]]:
        return [(queue, credit) for queue in queues]


def picker_of(wanted: QueueOrder) -> QueuePicker:
    """Make the picker for the option ``queue_order``.

    Raises:
        ConfigError: the option is not a queue order.
    """
    if wanted == "strict":
        return _StrictPicker()
    if wanted == "fair":
        return QueuePicker({})
    if not isinstance(wanted, Mapping):
        raise ConfigError(f"queue order is {wanted!r}, expected 'fair', 'strict', or a weight for each queue")
    for queue, weight in wanted.items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= 1000:
            raise ConfigError(
                f"weight of queue {queue!r} is {weight!r}, expected a whole number from 1 to 1000"
            )
    return QueuePicker(wanted)
