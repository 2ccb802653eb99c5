"""Remembers what became of the messages of a Commit or batch, so that a repetition doubles as little as can be."""

from __future__ import annotations

from dataclasses import dataclass, field

from gearmesh.interfaces.commit import Publish

__all__ = ["SentMessages"]


@dataclass(eq=False, slots=True)
class SentMessages:
    """The messages that were sent, by what is known of them.

    Not their numbers: a repetition may leave out the messages of callers that wait no longer. Equal messages have the
    same UUID, and count as one.

    Attributes:
        tried: a request with the message was sent. If it is not in ``taken``, a repetition may be a second copy.
        taken: SQS has said that it has the message, so a repetition leaves it out.
    """

    tried: set[Publish] = field(default_factory=set)
    taken: set[Publish] = field(default_factory=set)
