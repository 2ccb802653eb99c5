"""The publisher sends many messages and awaits their confirms together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import ChannelError, RecoverableConnectionError
from msgspec.structs import replace

from gearmesh.backoff import Backoff
from gearmesh.errors import PublishError
from gearmesh.transports.amqp.declarer import Declarer
from gearmesh.transports.amqp.frames import OutgoingMessage, Writer

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import ConnectionPort

__all__ = ["DUPLICATE_ATTEMPT_HEADER", "ConfirmingPublisher", "duplicate_attempt_of", "repeated"]

#: Header of a possible duplicate: the number of times that workers have received it, this time included.
DUPLICATE_ATTEMPT_HEADER: Final = "x-gearmesh-again"
#: Bytes that the publisher writes at a time.
_MAX_WRITE_BYTES: Final = 1 << 17
#: Number of messages on their way without a confirm.
_MAX_UNCONFIRMED_MESSAGES: Final = 2048


class ConfirmingPublisher:
    """Publishes through a channel in confirm mode. Only the thread that owns the connection uses it."""

    def __init__(self, link: ConnectionPort, declarer: Declarer) -> None:
        self._link = link
        self._declarer = declarer
        self._channel: Any = None
        self._writer: Writer | None = None
        self._seq = 0
        self._outlasts_alarms = True
        #: number of the publish on the channel -> index in the batch, in order
        self._open: dict[int, int] = {}
        self._refused: list[int] = []
        #: way of a returned message -> the first index in the batch without a confirm at that time
        self._returned: dict[tuple[str, str], int] = {}

    def publish(self, batch: Sequence[OutgoingMessage]) -> None:
        """Send a batch, and return when RabbitMQ has confirmed all of it; an alarm of RabbitMQ's does not end the wait.

        Raises:
            PublishError: a queue refuses messages, or no queue takes them.
        """
        self.stream((batch,), outlasts_alarms=True)

    def stream(
        self,
        chunks: Iterable[Sequence[OutgoingMessage]],
        sent: Callable[[Collection[int]], None] = lambda confirmed: None,
        *,
        again: bool = False,
        waits: bool = True,
        outlasts_alarms: bool = False,
    ) -> None:
        """Send chunk by chunk, without waiting for the confirms of the chunks before; see :meth:`publish`.

        Args:
            chunks: the publisher asks for each without the connection's lock. If that raises an error, the publisher
                raises it once all sent messages are confirmed.
            sent: called when this ends or raises, with the indexes of the messages that RabbitMQ has confirmed. They do
                not count a chunk that the publisher asked for and did not get.
            again: mark the messages as possible duplicates.
            waits: for a while, send messages again that a queue refuses; False: raise at once.
            outlasts_alarms: wait for confirms as long as RabbitMQ has an alarm.
        """
        batch: list[OutgoingMessage] = []
        todo: list[int] = []
        source = iter(chunks)
        trouble: Exception | None = None
        ended = healed = False
        pauses = Backoff()
        deadline = time.monotonic() + (self._link.patience if waits else 0.0)
        self._outlasts_alarms = outlasts_alarms
        self._begin()
        try:
            while not ended or todo:
                try:
                    self._begin()
                    self._write(batch, todo)
                    if not ended:
                        trouble = self._send_chunks(source, batch, todo, again=again)
                        ended = True
                    self._await_all()
                except ChannelError as exc:
                    # RabbitMQ has closed the channel: the exchange is gone, or a message is too large.
                    todo = self._undone(batch, todo)
                    begun = set(self._open.values())
                    self.drop()
                    if healed:
                        raise PublishError(
                            f"RabbitMQ refuses messages for {_names(batch, todo)}: {exc}"
                        ) from exc
                    healed = True
                    self._declare_again(batch[i] for i in todo)
                    for i in begun:  # RabbitMQ may still have taken it
                        batch[i] = repeated(batch[i])
                    continue
                if trouble is not None:
                    raise trouble
                lost = self._lost(batch)
                todo = self._undone(batch, todo)
                if lost:
                    if healed:
                        raise PublishError(
                            f"no queue takes {_names(batch, lost)}: nothing is bound by that name"
                        )
                    healed = True
                    self._declare_again(batch[i] for i in todo)
                elif todo:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise PublishError(
                            f"RabbitMQ refuses messages for {_names(batch, todo)}: is the queue full?"
                        )
                    time.sleep(min(pauses.next(), left))
        finally:
            sent(set(range(len(batch))).difference(self._undone(batch, todo)))

    def _send_chunks(
        self,
        source: Iterator[Sequence[OutgoingMessage]],
        batch: list[OutgoingMessage],
        todo: list[int],
        *,
        again: bool,
    ) -> Exception | None:
        """Send chunks until the source ends; return the error that ended it, or None."""
        while True:
            try:
                chunk = next(source, None)
            except ChannelError as exc:
                # RabbitMQ has closed the publisher's channel, and the source got the error: its chunk is lost.
                raise RecoverableConnectionError(str(exc)) from exc
            except Exception as exc:
                return exc
            if chunk is None:
                return None
            todo += range(len(batch), len(batch) + len(chunk))
            batch += map(repeated, chunk) if again else chunk
            self._write(batch, todo)

    def probe(self, queues: Sequence[str]) -> list[bool]:
        """Say of each queue whether it exists, by a message that expires at once, so that no consumer gets it."""
        batch = [OutgoingMessage("", queue, b"", expiration="0", transient=True) for queue in queues]
        self._begin()
        self._write(batch, list(range(len(batch))))
        self._await_all()
        return [item.way not in self._returned for item in batch]

    def _declare_again(self, items: Iterable[OutgoingMessage]) -> None:
        """Declare queues and exchange again, since one of them was deleted."""
        with self._link.lock:
            for queue in {item.queue.name: item.queue for item in items if item.queue is not None}.values():
                self._declarer.redeclare(queue)

    # -- one try

    def _begin(self) -> None:
        self._refused, self._returned = [], {}

    def _write(self, batch: Sequence[OutgoingMessage], todo: list[int]) -> None:
        """Send the messages in ``todo``, and empty it. Waits only while too many are unconfirmed."""
        if not todo:
            return
        with self._link.lock:
            link, writer = self._link, self._ready()
            out: list[bytes] = []
            size = start = 0
            last = len(todo)
            for count, i in enumerate(tuple(todo), 1):
                self._seq += 1
                self._open[self._seq] = i
                data = writer.write(batch[i])
                out.append(data)
                size += len(data)
                if size >= _MAX_WRITE_BYTES or count == last:
                    del todo[: count - start]
                    start = count
                    link.send(b"".join(out))
                    out.clear()
                    size = 0
                    link.pump()
                    while len(self._open) > _MAX_UNCONFIRMED_MESSAGES:
                        self._await()

    def _await_all(self) -> None:
        with self._link.lock:
            while self._open:
                self._await()

    def _lost(self, batch: Sequence[OutgoingMessage]) -> list[int]:
        """List the messages that RabbitMQ may have returned: all unconfirmed ones with a returned message's exchange
        and key."""
        returned = self._returned
        if not returned:
            return []
        return [i for i, item in enumerate(batch) if item.way in returned and i >= returned[item.way]]

    def _undone(self, batch: Sequence[OutgoingMessage], todo: Sequence[int]) -> list[int]:
        """List the messages of the batch that RabbitMQ has not confirmed."""
        return sorted({*todo, *self._refused, *self._lost(batch), *self._open.values()})

    def _await(self) -> None:
        """Read a frame, or fail the connection if RabbitMQ has been silent for too long."""
        link = self._link
        deadline = time.monotonic() + link.patience
        while not link.read_one(1.0):
            link.maintain()
            # A worker waits until an alarm is over. A producer does not: its caller waits for it.
            if time.monotonic() >= deadline and not (self._outlasts_alarms and link.blocked):
                link.fail(
                    RecoverableConnectionError(f"no confirm in {link.patience:g} s {link.blocked}".rstrip())
                )
                link.check()

    def _ready(self) -> Writer:
        if self._channel is None or self._writer is None:
            channel = self._link.open_channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._take)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
            self._channel = channel
            self._writer = Writer(channel.channel_id, self._link.frame_max)
            self._seq = 0
            self._open.clear()
        return self._writer

    def drop(self) -> None:
        """Forget the channel, which RabbitMQ has closed; the next batch opens another one."""
        channel, self._channel = self._channel, None
        self._open.clear()
        if channel is not None and channel.connection is not None:
            channel.close()

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += self._take(tag, multiple)

    def _take(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [self._open.pop(tag)] if tag in self._open else []
        taken = []
        for seq in list(self._open):
            if seq > tag:
                break
            taken.append(self._open.pop(seq))
        return taken

    def _on_return(self, exc: ChannelError, exchange: str, routing_key: str, message: Any) -> None:
        if (exchange, routing_key) not in self._returned:  # a return comes before its confirm
            self._returned[exchange, routing_key] = next(iter(self._open.values()), 0)


def repeated(item: OutgoingMessage) -> OutgoingMessage:
    """Mark a message as a possible duplicate: the worker that gets it lets the first copy go first."""
    return replace(item, headers={**(item.headers or {}), DUPLICATE_ATTEMPT_HEADER: 1})


def duplicate_attempt_of(properties: Mapping[str, Any]) -> int:
    """Read the number of times that workers have received a possible duplicate, this one included; 0: it is not one."""
    attempt = (properties.get("application_headers") or {}).get(DUPLICATE_ATTEMPT_HEADER, 0)
    return max(0, int(attempt)) if isinstance(attempt, int) else 1


def _names(batch: Sequence[OutgoingMessage], which: Sequence[int]) -> str:
    return ", ".join(sorted({repr(batch[i].routing_key) for i in which}))
