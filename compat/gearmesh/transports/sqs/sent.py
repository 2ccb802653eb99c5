"""Remembers which messages of a Commit or batch SQS has taken, so that a repetition sends few messages twice."""

from __future__ import annotations

from dataclasses import dataclass, field

from gearmesh.interfaces.commit import Publish

__all__ = ["SentMessages"]


@dataclass(eq=False, slots=True)
class SentMessages:
    """Holds the messages of a Commit or batch that were sent, and those of them that SQS has taken.

    It holds messages, not their indexes: a repetition may leave out the messages of callers that wait no longer. Equal
    messages have the same UUID, and count as one.

    Attributes:
        tried: a request with the message was sent. If it is not in ``taken``, a repetition may be a second copy.
        taken: SQS has confirmed the message, so a repetition leaves it out.
    """

    tried: set[Publish] = field(default_factory=set)
    taken: set[Publish] = field(default_factory=set)
