"""Checkpoints say in RabbitMQ itself how far a producer has come with a batch.

A repeated batch (:class:`~gearmesh.interfaces.commit.Token`) begins where the last checkpoint says that the first try
ended. The publisher sends one before the first message and after every few, on the same channel and so in order, to a
queue that keeps only the newest. The messages behind the last checkpoint are sent again as possible duplicates.

After a cut of the connection 0 to 22 messages are there twice, where 250 to 2,048 are unconfirmed and would be without
checkpoints; each of them costs a worker a look at the task's state and a wait of a second. Checkpoints cost a tenth of
the rate of large batches, and a quarter of that of single messages.
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

#: Messages between two checkpoints.
CHECKPOINT_INTERVAL_MESSAGES: Final = 32
#: More than any batch has.
WHOLE_BATCH: Final = 1 << 60


class PublishCheckpoints:
    """The checkpoints of the producers that share a connection. Used under the connection's lock."""

    def __init__(self, topology: Topology, declarer: Declarer) -> None:
        self._topology = topology
        self._declarer = declarer
        #: producer -> number of its last batch, and how many messages of it RabbitMQ has
        self._known: dict[str, tuple[int, int]] = {}

    def before(self, token: Token) -> tuple[int, bool]:
        """Return the number of a batch's first messages that were sent before, and if others may have been."""
        seq, count = self._last(token.producer)
        if seq > token.seq:
            return WHOLE_BATCH, True
        return (count, True) if seq == token.seq else (0, False)

    def knows(self, token: Token) -> bool:
        """Say whether a part of this batch, or of a later one, was sent before."""
        return self._last(token.producer)[0] >= token.seq

    def at(self, token: Token, count: int) -> OutgoingMessage:
        """Make the checkpoint behind the first ``count`` messages of a batch."""
        # Transient: a RabbitMQ that dies before it has confirmed a message may keep the checkpoint behind it and lose
        # the message.
        return OutgoingMessage(
            "",
            amqp_sent(token.producer),
            b"%d %d" % (token.seq, count),
            content_type="text/plain",
            transient=True,
            mandatory=False,
        )

    def confirmed(self, token: Token, count: int) -> None:
        """Remember that RabbitMQ has all of a batch, and so its last checkpoint."""
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
                # A message of another form is no checkpoint.
                known = (int(seq), int(count)) if seq.isdigit() and count.isdigit() else (0, 0)
            self._known[producer] = known
        return known
