"""The rule by which the death of a process counts against the messages that it ran."""

from __future__ import annotations

from typing import Final

__all__ = ["crash_count_after"]

#: A death counts this much if it may have had another cause than the message.
UNCERTAIN_SHARE: Final = 0.25


def crash_count_after(count: float | None, *, lost_before: bool, alone: bool, certain: bool) -> float | None:
    """Count one more death of a process that ran a message; None: the message is not isolated yet.

    The Redis scripts have the same rule, since they count in the server.

    Args:
        count: the message's count before, as ``Delivery.crash_count``.
        lost_before: a consumer has lost the message earlier.
        alone: the process ran no other message.
        certain: one of the messages that ran has certainly brought the process down.
    """
    if count is None and (certain or lost_before):
        count = 0
    if count is not None and alone:
        count += 1 if certain else UNCERTAIN_SHARE
    return count
