"""Second copies of what waits in RabbitMQ, in case it gets lost on its way out of there.

RabbitMQ moves a message whose wait is over without a confirm to itself: killed a moment later, it has lost the message,
though it had confirmed it when the wait began. Nobody is told. So a spare goes with each such message, into a queue
that nobody reads, and expires there long after the other one has left its wait.

Whoever is the first to come to a RabbitMQ that was started anew (a transient message is gone that the last one had left
there) looks through the spares before it adds any, and sends again what may have been lost, as possible second copies:
what was due since shortly before RabbitMQ is last known to have been there. That it was there is known by the spares
themselves, and, where no more of them follow, by a note.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from amqp.exceptions import AccessRefused, AMQPError, NotFound, RecoverableConnectionError, ResourceLocked
from kombu.transport import pyamqp
from msgspec.structs import replace

from gearmesh.backoff import Backoff
from gearmesh.errors import ConfigError, GearmeshError, PublishError
from gearmesh.transports.amqp import frames
from gearmesh.transports.amqp.declarer import MAX_DECLARATION_AGE_S
from gearmesh.transports.amqp.frames import Delivered, OutgoingMessage, QueueDeclaration, read_properties
from gearmesh.transports.amqp.publisher import BACKUP_HEADER, ConfirmingPublisher, repeated
from gearmesh.wire.names import AMQP_ALIVE, AMQP_LOOKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gearmesh.transports.amqp.connection import AMQPConnection
    from gearmesh.transports.amqp.declarer import Declarer
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["DelayBackups"]

log = logging.getLogger("gearmesh.amqp")

#: Nanoseconds after which a message that has left its wait is on RabbitMQ's disk for certain.
ON_DISK_AFTER_NS: Final = 5 * 10**9
#: Nanoseconds between two notes while something waits and no spare is sent.
MARKER_INTERVAL_NS: Final = 60 * 10**9
#: Seconds, at the most, between two looks whether somebody else is through with the spares.
MAX_LOOK_INTERVAL_S: Final = 0.5

_ALIVE_QUEUE: Final = QueueDeclaration(AMQP_ALIVE, {"x-queue-type": "classic", "x-max-length": 1})


@cache
def _clock() -> str:
    """Which clock this is: all processes of a machine that was started once share it, in containers, too."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return socket.gethostname()


class _Watch:
    """What this process knows of the spares that were sent to one broker by its machine's clock. Times in unix ns."""

    def __init__(self) -> None:
        self.clock = _clock()
        #: when all of which it knows will be safe
        self.safe_at = 0
        #: until when others know what is safe
        self.told = 0
        #: the longest wait among them, seconds
        self.longest = 0.0

    def sent(self, due: int, now: int) -> None:
        """A spare was, at ``now``, of a message that is due then."""
        self.safe_at = max(self.safe_at, due + ON_DISK_AFTER_NS)
        self.longest = max(self.longest, (due - now) / 1e9)
        self.told = max(self.told, now)

    def untold(self, now: int) -> bool:
        """It is time for a note."""
        return self.told < self.safe_at and now >= min(self.safe_at, self.told + MARKER_INTERVAL_NS)


#: By broker and vhost.
_watches: Final[dict[str, _Watch]] = {}


class _Spare(NamedTuple):
    exchange: str
    routing_key: str
    clock: str
    due: int
    sent: int
    queue: str
    tag: int
    properties: Mapping[str, Any]
    #: b"" of one that is not due yet
    body: bytes


class DelayBackups:
    """Those that one connection sends, and its look at all. Used under its link's lock."""

    def __init__(self, link: AMQPConnection, topology: Topology, declarer: Declarer) -> None:
        self._link = link
        self._topology = topology
        self._declarer = declarer
        self._watch = _watches.setdefault(f"{link.host}/{link.virtual_host}", _Watch())
        self._looked = False
        self._aside = False
        self._told = False

    def add(
        self, item: OutgoingMessage, exchange: str, routing_key: str, due: int, now: int
    ) -> OutgoingMessage:
        """A message that is to wait, with its spare; without one where it waits for too long.

        Also where the queue of spares can't be had: what is to be sent is sent.

        Args:
            exchange: where it goes from its wait, with that routing key.
            due: when it leaves its wait, unix ns.
        """
        place = self._topology.spare((due - now) / 1e9)
        if place is None:
            return item
        try:
            self.look()
            self._declarer.ensure(place, MAX_DECLARATION_AGE_S)  # nobody is told if it is gone
        except (NotFound, GearmeshError) as exc:  # of a cluster, the node that has it may be away
            self._missing(exc)
            return item
        self._watch.sent(due, now)
        spare = replace(
            item,
            exchange="",
            routing_key=place.name,
            headers={
                **(item.headers or {}),
                BACKUP_HEADER: [exchange, routing_key, self._watch.clock, str(due), str(now)],
            },
            mandatory=False,
            queue=None,
        )
        return replace(item, spare=spare)

    @property
    def untold(self) -> bool:
        """There is something for :meth:`tell` to do. Any thread."""
        return self._watch.untold(time.time_ns())

    def tell(self) -> None:
        """Note down that all is safe by now: nothing that was due long ago is to be sent again."""
        watch = self._watch
        now = time.time_ns()
        # The last one goes where the spares it speaks of are, lest they outlive it; the others would crowd them out.
        last = now >= watch.safe_at
        place = self._topology.spare(watch.longest if last else 0)
        channel = self._declarer.channel
        if place is None or self._link.blocked or not channel.is_open:
            return
        about = ["", "", watch.clock, "0", str(now)]
        note = OutgoingMessage(
            "", place.name, b"", {BACKUP_HEADER: about}, content_type="text/plain", mandatory=False
        )
        # Without a confirm: if it is lost, more is sent again than need be.
        self._link.send(frames.Writer(channel.channel_id, self._link.frame_max).write(note))
        watch.told = now
        if last:
            watch.longest = 0.0

    def look(self) -> None:
        """See to it that the spares are looked through if RabbitMQ was started anew.

        Raises:
            ConfigError: this user may not declare what is needed for that.
            NotFound: the node of the cluster that knows is away.
        """
        until = time.monotonic() + self._link.patience
        pause = 0.02
        while not self._looked_through():
            if self._lock():
                try:
                    # Who had the lock before may just have been through.
                    if not self._looked_through():
                        self._look_through()
                finally:
                    with suppress(AMQPError, OSError):  # it goes with the connection
                        self._declarer.delete(AMQP_LOOKING)
                return
            if time.monotonic() > until:
                raise RecoverableConnectionError(
                    f"somebody has been looking through the spares for {self._link.patience:g} s"
                )
            self._link.maintain()
            time.sleep(pause)
            pause = min(2 * pause, MAX_LOOK_INTERVAL_S)

    def look_aside(self) -> None:
        """The same in a thread of its own, with a connection of its own, once.

        RabbitMQ does not serve a connection that has published something while it has an alarm, and who consumes may
        be the one to end that.
        """
        if self._aside:
            return
        self._aside = True
        try:
            if self._looked_through():
                return
        except (NotFound, GearmeshError) as exc:
            self._missing(exc)
            return
        threading.Thread(target=self._look_aside, name="gearmesh-amqp-spares", daemon=True).start()

    def _look_aside(self) -> None:
        pauses = Backoff()
        own = self._link
        while own.broken is None and not own.released and (client := own.client) is not None:
            try:
                link = client.transport.establish_connection()
                try:
                    with link.lock:
                        link.spares(self._topology).look()
                finally:
                    link.close()
                return
            except (NotFound, GearmeshError) as exc:
                self._missing(exc)
                return
            except (AMQPError, OSError) as exc:
                pauses.log(log, "the backup copies of delayed messages cannot be read", exc)
                time.sleep(pauses.next())

    def _missing(self, exc: Exception) -> None:
        if not self._told:
            self._told = True
            log.error(
                "delayed messages have no backup copy, and may be lost if RabbitMQ is killed as their delay ends: %s",
                exc,
            )

    def _looked_through(self) -> bool:
        """Somebody has been through since RabbitMQ was started."""
        if not self._looked:
            self._declarer.ensure(_ALIVE_QUEUE)
            self._looked = bool(self._declarer.count(AMQP_ALIVE))
        return self._looked

    def _lock(self) -> bool:
        """A queue that is one connection's, and gone with it."""
        try:
            self._declarer.channel.queue_declare(
                AMQP_LOOKING, durable=False, exclusive=True, auto_delete=False
            )
        except ResourceLocked:
            return False
        except AccessRefused as exc:
            raise ConfigError(f"queue {AMQP_LOOKING!r} can't be declared: {exc}") from exc
        return True

    def _look_through(self) -> None:
        sender = ConfirmingPublisher(self._link, self._topology, self._declarer)
        now = time.time_ns()
        reader = _Reader(self._link, now)
        reader.open()
        try:
            found = [spare for queue in self._topology.spares() for spare in self._read(reader, queue.name)]
            latest: dict[str, int] = {}
            for spare in found:
                latest[spare.clock] = max(latest.get(spare.clock, 0), spare.sent)
                if spare.clock == self._watch.clock:  # who sent it may be gone, and say nothing more
                    self._watch.sent(spare.due, spare.sent)
            gone = [spare for spare in found if spare.due < latest[spare.clock] - ON_DISK_AFTER_NS]
            owed = [spare for spare in found if latest[spare.clock] - ON_DISK_AFTER_NS <= spare.due <= now]
            if owed:
                log.info(
                    "RabbitMQ has restarted: sent %d delayed messages again that were due meanwhile",
                    len(owed),
                )
            ways: dict[tuple[str, str], list[_Spare]] = {}
            for spare in owed:
                ways.setdefault((spare.exchange, spare.routing_key), []).append(spare)
            for spares in ways.values():
                self._send_again(sender, spares, now)
            acks = [frames.ack(reader.channel_id, spare.tag) for spare in (*gone, *owed)]
            if acks:
                self._link.send(b"".join(acks))
        finally:
            with suppress(AMQPError, OSError):
                reader.close()  # what was not acknowledged is back in its place
        alive = OutgoingMessage(
            "", AMQP_ALIVE, b"", content_type="text/plain", transient=True, queue=_ALIVE_QUEUE
        )
        sender.publish([alive])
        sender.drop()
        self._looked = True

    def _send_again(self, sender: ConfirmingPublisher, owed: Sequence[_Spare], now: int) -> None:
        """All with the same way, as possible second copies; what can't be sent is kept."""
        try:
            sender.publish([_again(spare) for spare in owed])
        except PublishError as exc:
            log.error(
                "backup copies could not be sent: %s; the next try is at the next start of RabbitMQ", exc
            )
            # By a clock of which nothing younger will ever be known: they are owed whatever is sent meanwhile.
            about = [uuid4().hex, str(now), str(now)]
            sender.publish([_kept(spare, about) for spare in owed])

    def _read(self, reader: _Reader, queue: str) -> list[_Spare]:
        """All spares in a queue."""
        count = self._declarer.count(queue)
        if not count:
            return []
        reader.found, reader.queue = [], queue
        tag = reader.basic_consume(queue, callback=lambda message: None)
        until = time.monotonic() + self._link.patience
        while len(reader.found) < count:
            if self._link.read_one(1.0):
                continue
            if not self._declarer.count(queue):  # some have expired, or are no spares
                break
            if time.monotonic() > until:
                raise RecoverableConnectionError(f"queue {queue!r} stands still")
        reader.basic_cancel(tag)
        return reader.found


class _Reader(pyamqp.Channel):  # type: ignore[misc]
    """A channel that keeps what it is sent; of what is due after ``now``, not the body."""

    def __init__(self, link: AMQPConnection, now: int) -> None:
        super().__init__(link)
        self._now = now
        self.queue = ""
        self.found: list[_Spare] = []

    def arrived(self, delivered: Delivered, raw: bytes, body: bytes) -> None:
        """A delivery is complete."""
        properties = read_properties(raw)
        about: Any = (properties.get("application_headers") or {}).get(BACKUP_HEADER)
        try:
            exchange, routing_key, clock, *times = map(str, about)
            due, sent = map(int, times)
        except (TypeError, ValueError):
            log.error("a message in a queue of backup copies is none: header %s is %r", BACKUP_HEADER, about)
            return
        if due > self._now:
            body = b""
        self.found.append(
            _Spare(exchange, routing_key, clock, due, sent, self.queue, delivered.tag, properties, body)
        )


def _again(spare: _Spare) -> OutgoingMessage:
    """The message of a spare, sent as what may be a second copy."""
    headers = {
        name: value
        for name, value in spare.properties["application_headers"].items()
        if name != BACKUP_HEADER
    }
    return repeated(
        OutgoingMessage(
            spare.exchange,
            spare.routing_key,
            spare.body,
            headers,
            spare.properties.get("priority") or 0,
            content_type=spare.properties.get("content_type") or "application/json",
            # What no queue takes RabbitMQ would have dropped at the end of its wait, too.
            mandatory=False,
        )
    )


def _kept(spare: _Spare, times: Sequence[str]) -> OutgoingMessage:
    """A spare once more."""
    message = _again(spare)
    about = [spare.exchange, spare.routing_key, *times]
    return replace(
        message,
        exchange="",
        routing_key=spare.queue,
        headers={**(message.headers or {}), BACKUP_HEADER: about},
    )
