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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amqp.exceptions import AMQPError, RecoverableConnectionError, ResourceLocked
from kombu.transport import pyamqp
from msgspec.structs import replace

from gearmesh.errors import GearmeshError, PublishError
from gearmesh.pauses import Pauses
from gearmesh.transports.amqp import frames
from gearmesh.transports.amqp.frames import Delivered, Publishing, Queue, read_properties
from gearmesh.transports.amqp.sender import Sender, repeated
from gearmesh.wire.names import AMQP_ALIVE, AMQP_LOOKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gearmesh.transports.amqp.declaring import Declarer
    from gearmesh.transports.amqp.link import Link
    from gearmesh.transports.amqp.topology import Topology

__all__ = ["SPARE", "Spares"]

log = logging.getLogger("gearmesh.amqp")

#: Header of a spare: exchange and routing key that the message is meant for; whose clock; and by that clock, in unix
#: ns, when the message leaves its wait (0 in a note: it speaks of none), and when the spare was sent.
SPARE: Final = "x-gearmesh-spare"
#: Nanoseconds after which a message that has left its wait is on RabbitMQ's disk for certain.
SAFE: Final = 5 * 10**9
#: Nanoseconds between two notes while something waits and no spare is sent.
NOTED: Final = 60 * 10**9
#: Seconds, at the most, between two looks whether somebody else is through with the spares.
LONGEST: Final = 0.5

_ALIVE: Final = Queue(AMQP_ALIVE, {"x-queue-type": "classic", "x-max-length": 1})


class _Spare(NamedTuple):
    exchange: str
    routing_key: str
    clock: str
    due: int
    sent: int
    tag: int
    properties: Mapping[str, Any]
    body: bytes


class Spares:
    """Those that one connection sends, and its look at all. Used under its link's lock."""

    def __init__(self, link: Link, topology: Topology, declarer: Declarer) -> None:
        self._link = link
        self._topology = topology
        self._declarer = declarer
        self._looked = False
        #: when what was sent here is safe, and until when that is known to others; unix ns
        self._safe_at = self._known = 0
        self._clock = socket.gethostname()

    def add(self, item: Publishing, exchange: str, routing_key: str, due: int, now: int) -> Publishing:
        """A message that is to wait, with its spare where it waits for less than twelve days.

        Args:
            exchange: where it goes from its wait, with that routing key.
            due: when it leaves its wait, unix ns.
        """
        place = self._topology.spare((due - now) / 1e9)
        if place is None:
            return item
        self.look()
        self._declarer.ensure(place, 1.0)  # nobody is told if it is gone
        self._safe_at = max(self._safe_at, due + SAFE)
        self._known = now
        about = [exchange, routing_key, self._clock, str(due), str(now)]
        spare = replace(
            item,
            exchange="",
            routing_key=place.name,
            headers={**(item.headers or {}), SPARE: about},
            mandatory=False,
            queue=None,
        )
        return replace(item, spare=spare)

    def tend(self) -> None:
        """Note down from time to time what is safe by now: nothing that was due long ago is to be sent again."""
        now = time.time_ns()
        if self._known >= self._safe_at or now < min(self._safe_at, self._known + NOTED):
            return
        self._link.check()
        place = self._topology.spare(0)
        assert place is not None
        self._declarer.ensure(place, 1.0)
        about = ["", "", self._clock, "0", str(now)]
        note = Publishing("", place.name, b"", {SPARE: about}, content_type="text/plain", mandatory=False)
        # Without a confirm: if it is lost, more is sent again than need be.
        channel = self._declarer.channel
        self._link.send(frames.Writer(channel.channel_id, self._link.frame_max).write(note))
        self._known = now

    def look(self) -> None:
        """See to it that the spares are looked through if RabbitMQ was started anew.

        Raises:
            ConfigError: this user may not declare what is needed for that.
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
            pause = min(2 * pause, LONGEST)

    def look_aside(self) -> None:
        """The same in a thread of its own, with a connection of its own.

        RabbitMQ does not serve a connection that has published something while it has an alarm, and who consumes may
        be the one to end that.
        """
        if not self._looked_through():
            threading.Thread(target=self._aside, name="gearmesh-amqp-spares", daemon=True).start()

    def _aside(self) -> None:
        pauses = Pauses()
        while self._link.broken is None and (client := self._link.client) is not None:
            try:
                link = client.transport.establish_connection()
                try:
                    with link.lock:
                        link.spares(self._topology).look()
                finally:
                    link.close()
                return
            except (AMQPError, OSError) as exc:
                pauses.log(log, "the spares can't be looked through", exc)
                time.sleep(pauses.next())
            except GearmeshError as exc:
                log.error("the spares can't be looked through: %s", exc)
                return

    def _looked_through(self) -> bool:
        """Somebody has been through since RabbitMQ was started."""
        if not self._looked:
            self._declarer.ensure(_ALIVE)
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
        return True

    def _look_through(self) -> None:
        sender = Sender(self._link, self._topology, self._declarer)
        reader = _Reader(self._link)
        reader.open()
        try:
            found = [spare for queue in self._topology.spares() for spare in self._read(reader, queue.name)]
            latest: dict[str, int] = {}
            for spare in found:
                latest[spare.clock] = max(latest.get(spare.clock, 0), spare.sent)
            now = time.time_ns()
            # Of this clock somebody has to go on to say what is safe.
            self._safe_at = max((x.due + SAFE for x in found if x.clock == self._clock), default=0)
            self._known = now
            gone = [spare for spare in found if spare.due < latest[spare.clock] - SAFE]
            owed = [spare for spare in found if latest[spare.clock] - SAFE <= spare.due <= now]
            if owed:
                log.info(
                    "RabbitMQ was started anew: %d messages were due then, and are sent again", len(owed)
                )
            try:
                sender.publish([_again(spare) for spare in owed])
            except PublishError as exc:
                log.error("%s; the next start of RabbitMQ is the next try", exc)
                owed = []
            acks = [frames.ack(reader.channel_id, spare.tag) for spare in (*gone, *owed)]
            if acks:
                self._link.send(b"".join(acks))
        finally:
            with suppress(AMQPError, OSError):
                reader.close()  # what was not acknowledged is back in its place
        sender.publish([Publishing("", AMQP_ALIVE, b"", content_type="text/plain", transient=True)])
        sender.drop()
        self._looked = True

    def _read(self, reader: _Reader, queue: str) -> list[_Spare]:
        count = self._declarer.count(queue)
        if not count:
            return []
        reader.found.clear()
        tag = reader.basic_consume(queue, callback=lambda message: None)
        while len(reader.found) < count and self._link.read_one(1.0):
            pass
        reader.basic_cancel(tag)
        return reader.found.copy()


class _Reader(pyamqp.Channel):  # type: ignore[misc]
    """A channel that keeps what it is sent."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.found: list[_Spare] = []

    def arrived(self, delivered: Delivered, raw: bytes, body: bytes) -> None:
        """A delivery is complete."""
        properties = read_properties(raw)
        about: Any = (properties.get("application_headers") or {}).get(SPARE)
        try:
            exchange, routing_key, clock, due, sent = map(str, about)
            spare = _Spare(exchange, routing_key, clock, int(due), int(sent), delivered.tag, properties, body)
        except (TypeError, ValueError):
            log.error("no spare, but in a queue of spares: header %s is %r", SPARE, about)
        else:
            self.found.append(spare)


def _again(spare: _Spare) -> Publishing:
    """The message of a spare, sent as what may be a second copy."""
    headers = {
        name: value for name, value in spare.properties["application_headers"].items() if name != SPARE
    }
    # Where RabbitMQ would have dropped it at the end of its wait, since no queue takes it, it is dropped, too.
    return repeated(
        Publishing(
            spare.exchange,
            spare.routing_key,
            spare.body,
            headers,
            spare.properties.get("priority") or 0,
            content_type=spare.properties.get("content_type") or "application/json",
            mandatory=False,
        )
    )
