"""The publisher sends many messages and awaits their confirms together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import ChannelError, RecoverableConnectionError
from msgspec.structs import replace

from gearmesh.backoff import Backoff
from gearmesh.errors import PublishError
from gearmesh.interfaces.commit import Token
from gearmesh.transports.amqp.declarer import Declarer
from gearmesh.transports.amqp.frames import OutgoingMessage, Writer
from gearmesh.transports.amqp.publish_checkpoints import (
    CHECKPOINT_INTERVAL_MESSAGES,
    WHOLE_BATCH,
    PublishCheckpoints,
)

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import ConnectionPort
    from gearmesh.transports.amqp.topology import Topology

__all__ = [
    "DUPLICATE_ATTEMPT_HEADER",
    "ConfirmingPublisher",
    "duplicate_attempt_of",
    "repeated",
]

#: Header of a possible duplicate: the number of times that a worker has met it, this one included.
DUPLICATE_ATTEMPT_HEADER: Final = "x-gearmesh-again"
#: Bytes that the publisher writes at a time.
_MAX_WRITE_BYTES: Final = 1 << 17
#: Messages on their way without a confirm.
_MAX_UNCONFIRMED_MESSAGES: Final = 2048


class ConfirmingPublisher:
    """A channel in confirm mode, used by the thread that owns its connection.

    A repeated batch begins where its :mod:`checkpoint <.publish_checkpoints>` says that the first try ended.
    """

    def __init__(self, link: ConnectionPort, topology: Topology, declarer: Declarer) -> None:
        self._link = link
        self._topology = topology
        self._declarer = declarer
        self._channel: Any = None
        self._writer: Writer | None = None
        self._seq = 0
        #: number of the publish on the channel -> index in the batch, in order
        self._open: dict[int, int] = {}
        self._refused: list[int] = []
        #: way of a returned message -> the first index in the batch without a confirm at that time
        self._returned: dict[tuple[str, str], int] = {}
        self._checkpoints = PublishCheckpoints(topology, declarer)

    def publish(self, batch: Sequence[OutgoingMessage], token: Token | None = None) -> None:
        """Send a batch, and return when RabbitMQ has confirmed all of it.

        Raises:
            PublishError: a queue refuses messages, or no queue takes them.
        """
        self.stream((batch,), token)

    def stream(
        self,
        chunks: Iterable[Sequence[OutgoingMessage]],
        token: Token | None = None,
        taken: Callable[[int], None] = lambda count: None,
        *,
        again: bool = False,
    ) -> None:
        """Send chunk by chunk, each while RabbitMQ has those before still to confirm; see :meth:`publish`.

        Args:
            chunks: the publisher asks for each without the connection's lock. An error raised there is raised here when
                all that was sent is confirmed.
            token: the name under which all chunks are one batch.
            taken: called when this ends or raises, with the number of first messages that RabbitMQ has confirmed.
            again: some messages may have been sent before, even if no checkpoint says so.
        """
        batch: list[OutgoingMessage] = []
        todo: list[int] = []
        source = iter(chunks)
        trouble: Exception | None = None
        ended = healed = False
        pauses = Backoff()
        deadline = time.monotonic() + self._link.patience
        self._begin()
        try:
            done = 0
            if token is not None:
                with self._link.lock:
                    done, begun_before = self._checkpoints.before(token)
                again = again or begun_before
            while not ended or todo:
                try:
                    self._begin()
                    self._write(batch, todo, token)
                    if not ended:
                        trouble = self._send_chunks(source, batch, todo, token, done=done, again=again)
                        ended = True
                    self._await_all(token)
                except ChannelError as exc:
                    # Closed by RabbitMQ: the exchange is gone, or a message too large.
                    todo = self._undone(batch, todo)
                    begun = set(self._open.values()) - {-1}
                    self.drop()
                    if healed:
                        raise PublishError(
                            f"RabbitMQ refuses messages for {_names(batch, todo)}: {exc}"
                        ) from exc
                    healed = True
                    self._set_back(token, todo)
                    self._declare_again(batch[i] for i in todo)
                    self._doubt(batch, todo if again else begun)  # it may have been taken all the same
                    continue
                if trouble is not None:
                    raise trouble
                lost = self._lost(batch)
                todo = self._undone(batch, todo)
                self._set_back(token, todo)
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
            taken(min(self._undone(batch, todo), default=len(batch)))
        if token is not None:
            with self._link.lock:
                self._checkpoints.confirmed(token, len(batch))

    def _send_chunks(
        self,
        source: Iterator[Sequence[OutgoingMessage]],
        batch: list[OutgoingMessage],
        todo: list[int],
        token: Token | None,
        *,
        done: int,
        again: bool,
    ) -> Exception | None:
        """Send until the source ends, and return the error with which it did."""
        while True:
            try:
                chunk = next(source, None)
            except ChannelError as exc:
                # RabbitMQ has closed the publisher's channel, and the source met the error: its chunk is gone.
                raise RecoverableConnectionError(str(exc)) from exc
            except Exception as exc:
                return exc
            if chunk is None:
                return None
            start = len(batch)
            batch += chunk
            todo += range(max(start, done), len(batch))
            if again:
                self._doubt(batch, range(start, len(batch)))
            self._write(batch, todo, token)

    def _doubt(self, batch: list[OutgoingMessage], which: Iterable[int]) -> None:
        for i in which:
            batch[i] = repeated(batch[i])

    def knows(self, token: Token) -> bool:
        """Say whether a part of this batch, or of a later one, was sent before."""
        return self._checkpoints.knows(token)

    def probe(self, queues: Sequence[str]) -> list[bool]:
        """Say of each queue if it exists. It is sent a message that expires at once, which no consumer gets."""
        batch = [OutgoingMessage("", queue, b"", expiration="0", transient=True) for queue in queues]
        self._round(batch, None)
        return [item.way not in self._returned for item in batch]

    def _declare_again(self, items: Iterable[OutgoingMessage]) -> None:
        """Declare queues and exchange again, since one of them was deleted."""
        with self._link.lock:
            for queue in {item.queue.name: item.queue for item in items if item.queue is not None}.values():
                for each in filter(None, (queue, self._topology.after(queue))):
                    self._declarer.forget(each.name)
                    self._declarer.ensure(each)

    # -- one try

    def _round(self, batch: Sequence[OutgoingMessage], token: Token | None) -> None:
        """Send once and wait for all confirms; ``_refused`` and ``_returned`` then hold the failures."""
        self._begin()
        self._write(batch, list(range(len(batch))), token)
        self._await_all(token)

    def _begin(self) -> None:
        self._refused, self._returned = [], {}

    def _write(self, batch: Sequence[OutgoingMessage], todo: list[int], token: Token | None) -> None:
        """Send the messages in ``todo``, and empty it. Waits only while too many are unconfirmed."""
        if not todo:
            return
        with self._link.lock:
            link, writer = self._link, self._ready()
            out: list[bytes] = []
            size = start = 0
            last = len(todo)
            if token is not None and last > 1:  # behind a single one the checkpoint follows at once
                self._seq += 1
                self._open[self._seq] = -1
                out.append(writer.write(self._checkpoints.at(token, todo[0])))
            for count, i in enumerate(tuple(todo), 1):
                self._seq += 1
                self._open[self._seq] = i
                data = writer.write(batch[i])
                out.append(data)
                size += len(data)
                if token is not None and (count == last or count % CHECKPOINT_INTERVAL_MESSAGES == 0):
                    self._seq += 1
                    self._open[self._seq] = -1
                    out.append(writer.write(self._checkpoints.at(token, i + 1)))
                if size >= _MAX_WRITE_BYTES or count == last:
                    del todo[: count - start]
                    start = count
                    link.send(b"".join(out))
                    out.clear()
                    size = 0
                    link.pump()
                    while len(self._open) > _MAX_UNCONFIRMED_MESSAGES:
                        self._await(token)

    def _await_all(self, token: Token | None) -> None:
        with self._link.lock:
            while self._open:
                self._await(token)

    def _lost(self, batch: Sequence[OutgoingMessage]) -> list[int]:
        """The messages that RabbitMQ may have returned: all of one way that had no confirm when it returned one."""
        returned = self._returned
        if not returned:
            return []
        return [i for i, item in enumerate(batch) if i >= returned.get(item.way, WHOLE_BATCH)]

    def _undone(self, batch: Sequence[OutgoingMessage], todo: Sequence[int]) -> list[int]:
        """The messages that RabbitMQ has not confirmed, of all that were begun."""
        return sorted({*todo, *self._refused, *self._lost(batch), *self._open.values()} - {-1})

    def _await(self, token: Token | None) -> None:
        """Read a frame, or fail the connection if RabbitMQ has been silent for too long."""
        link = self._link
        deadline = time.monotonic() + link.patience
        while not link.read_one(1.0):
            link.maintain()
            # A worker waits until an alarm is over. A producer does not: its caller waits for it.
            if time.monotonic() >= deadline and (token is not None or not link.blocked):
                link.fail(
                    RecoverableConnectionError(f"no confirm in {link.patience:g} s {link.blocked}".rstrip())
                )
                link.check()

    def _ready(self) -> Writer:
        if self._channel is None or self._writer is None:
            channel = self._link.open_channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
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

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._take(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += [i for i in self._take(tag, multiple) if i >= 0]

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
            first = next((i for i in self._open.values() if i >= 0), 0)
            self._returned[exchange, routing_key] = first

    def _set_back(self, token: Token | None, todo: Sequence[int]) -> None:
        """Set the checkpoint back to the first message that is to be sent again."""
        if token is None or not todo:
            return
        refused, returned = self._refused, self._returned
        self._round([self._checkpoints.at(token, todo[0])], None)
        self._refused, self._returned = refused, returned


def repeated(item: OutgoingMessage) -> OutgoingMessage:
    """Mark a message as a possible duplicate: the worker that gets it lets the first copy go first."""
    return replace(item, headers={**(item.headers or {}), DUPLICATE_ATTEMPT_HEADER: 1})


def duplicate_attempt_of(properties: Mapping[str, Any]) -> int:
    """Read the number of times that a possible duplicate was met, this one included; 0: it is no duplicate."""
    attempt = (properties.get("application_headers") or {}).get(DUPLICATE_ATTEMPT_HEADER, 0)
    return max(0, int(attempt)) if isinstance(attempt, int) else 1


def _names(batch: Sequence[OutgoingMessage], which: Sequence[int]) -> str:
    return ", ".join(sorted({repr(batch[i].routing_key) for i in which}))
