"""How far a producer has come, noted down in RabbitMQ itself.

A repeated batch (:class:`~gearmesh.interfaces.commit.Token`) begins where the last note says the first try ended:
before the
first message, and after every few, a small one goes, on the same channel and so in order, into a queue that keeps only
the newest. Between two notes nobody can say. Those few are sent again, with a header that says so: who gets one looks
whether it was run before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearmesh.transports.amqp.frames import OutgoingMessage
from gearmesh.transports.amqp.message import body_of
from gearmesh.wire.names import amqp_sent

if TYPE_CHECKING:
    from gearmesh.interfaces.commit import Token
    from gearmesh.transports.amqp.declarer import Declarer
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["CHECKPOINT_INTERVAL_MESSAGES", "WHOLE_BATCH", "PublishCheckpoints"]

#: Messages after which a producer notes down how far it has come.
CHECKPOINT_INTERVAL_MESSAGES: Final = 32
#: More than any batch has.
WHOLE_BATCH: Final = 1 << 60


class PublishCheckpoints:
    """Those of the producers that use one connection. Used under its link's lock."""

    def __init__(self, topology: Topology, declarer: Declarer) -> None:
        self._topology = topology
        self._declarer = declarer
        #: producer -> last batch, and how many of it are known to have been taken
        self._known: dict[str, tuple[int, int]] = {}

    def before(self, token: Token) -> tuple[int, bool]:
        """How many of a batch's messages were sent before, and whether the others may have been."""
        seq, count = self._last(token.producer)
        if seq > token.seq:
            return WHOLE_BATCH, True
        return (count, True) if seq == token.seq else (0, False)

    def knows(self, token: Token) -> bool:
        """True if some of this batch, or of a later one, was sent before."""
        return self._last(token.producer)[0] >= token.seq

    def note(self, token: Token, count: int) -> OutgoingMessage:
        """What says that the first ``count`` messages of the batch have been sent."""
        # Transient: RabbitMQ may keep a note and lose the messages before it, if it dies before it has confirmed any of
        # them. Then there must be no note either.
        return OutgoingMessage(
            "",
            amqp_sent(token.producer),
            b"%d %d" % (token.seq, count),
            content_type="text/plain",
            transient=True,
            mandatory=False,
        )

    def taken(self, token: Token, count: int) -> None:
        """RabbitMQ has all of a batch, and so its last note."""
        self._known[token.producer] = token.seq, count

    def _last(self, producer: str) -> tuple[int, int]:
        queue = self._topology.sent(producer)
        self._declarer.ensure(queue)
        known = self._known.get(producer)
        if known is None:
            message = self._declarer.channel.basic_get(queue.name)
            known = 0, 0
            if message is not None:
                self._declarer.channel.basic_reject(message.delivery_tag, requeue=True)
                seq, _, count = body_of(message).partition(b" ")
                # A note is ours; where anything else stands, nothing is known.
                known = (int(seq), int(count)) if seq.isdigit() and count.isdigit() else (0, 0)
            self._known[producer] = known
        return known
