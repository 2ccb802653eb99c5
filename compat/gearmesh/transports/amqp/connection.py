"""One connection to RabbitMQ: py-amqp's connection with another reader, a lock, and a way to end its wait.

One thread owns it: it waits for the socket and for wake-ups (:meth:`AMQPConnection.rest`), outside the lock. Any other
thread may do short work under the lock: acknowledge, send a heartbeat. So a committer never waits for a drain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp.exceptions import AMQPError, RecoverableConnectionError
from kombu.transport import pyamqp

from gearmesh.config import AMQPConfig
from gearmesh.process_local import OWN_SOCKETS
from gearmesh.transports.amqp.declarer import Declarer
from gearmesh.transports.amqp.frame_reader import Frame, FrameReader
from gearmesh.transports.amqp.heartbeat import HeartbeatThread
from gearmesh.transports.amqp.publisher import ConfirmingPublisher
from gearmesh.transports.amqp.topology import Topology
from gearmesh.wire.names import DEFAULT_QUEUE

if TYPE_CHECKING:
    from gearmesh.transports.amqp.protocols import FrameHandler

__all__ = ["AMQPConnection"]

log = logging.getLogger("gearmesh.amqp")

_MAX_RECV_BYTES: Final = 1 << 18
_CONNECTION_BLOCKED: Final = b"\x00\x0a\x00\x3c"
_CONNECTION_UNBLOCKED: Final = b"\x00\x0a\x00\x3d"


class AMQPConnection(pyamqp.Connection):  # type: ignore[misc]
    """Owns one socket to RabbitMQ, which other threads may write to as well.

    Args:
        options: the transport's options.
        patience: seconds to wait for RabbitMQ's answer, and for the kernel to take written bytes.
    """

    channels: dict[int, Any]
    _transport: Any

    def __init__(
        self, *args: Any, options: Mapping[str, Any] | None = None, patience: float = 30.0, **kwargs: Any
    ) -> None:
        self.options = dict(options or {})
        self.lock = threading.RLock()
        self.patience = patience
        #: the reason for which RabbitMQ reads nothing more from us; "": it reads
        self.blocked = ""
        self.broken: BaseException | None = None
        self.sent_at = self.received_at = time.monotonic()
        #: the channels that may consume
        self.consuming: list[FrameHandler] = []
        #: True once its owner has closed it
        self.released = False
        #: True while its owner waits for messages, so that its consumers are alive
        self.resting = False
        #: True if kombu has closed it, but it stays open until its deliveries are settled
        self.lingering = False
        self.heartbeat_thread = HeartbeatThread(self)
        self.topology = Topology(
            self.options.get("amqp") or AMQPConfig(), self.options.get("default_queue", DEFAULT_QUEUE)
        )
        self.declarer = Declarer(self, self.topology)
        self.publisher = ConfirmingPublisher(self, self.declarer)
        self._inbound = FrameReader()
        self._pid = os.getpid()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._readable = select.poll()
        self._either = select.poll()
        super().__init__(*args, **kwargs)

    # -- life

    def connect(self, callback: Any = None) -> Any:
        try:
            result = super().connect(callback)
        except BaseException:
            self.collect()
            raise
        OWN_SOCKETS.add(self.sock)
        # From here on, no write waits longer than this for the kernel.
        self.sock.settimeout(self.patience)
        self._either.register(self.sock, select.POLLIN)
        self._either.register(self._wake_read, select.POLLIN)
        return result

    def collect(self) -> None:
        with self.lock:
            sock = self._transport.sock if self._transport is not None else None
            try:
                super().collect()
            except ValueError as exc:  # from a TLS connection that was never established
                log.debug("closing a broken connection: %s", exc)
                self._transport = None
            finally:
                if sock is not None:
                    sock.close()
                self.heartbeat_thread.stop()
                self._wake_read.close()
                self._wake_write.close()

    def close(self, *args: Any, **kwargs: Any) -> None:
        if os.getpid() != self._pid:  # forked: the socket is the parent's, too, so send no goodbye
            if self._transport is not None and self._transport.sock is not None:
                self._transport.sock.close()
                self._transport = None
            return
        with self.lock:
            self.released = True
            if self._transport is None:
                return
            try:
                sound = self.broken is None and self.connected
                if sound and not self.lingering:
                    for channel in list(self.consuming):
                        channel.retire()
                if self.lingering and sound:
                    self.close_if_settled()
                    return
                self.lingering = False
                if sound:
                    super().close(*args, **kwargs)
            finally:
                if not self.lingering:
                    self.collect()

    def close_if_settled(self) -> None:
        """Close a lingering connection for good if all its deliveries are settled."""
        if not self.lingering:
            return
        with self.lock:
            if any(channel.held_here() for channel in self.consuming):
                return
            self.lingering = False
            with contextlib.suppress(AMQPError, OSError):
                super().close()
            self.collect()

    def fail(self, exc: BaseException) -> None:
        """Mark the connection as broken; its owner gets the error."""
        with self.lock:
            if self.broken is None:
                self.broken = exc
            self.wake()

    def check(self) -> None:
        """Raise RecoverableConnectionError if the connection cannot be used."""
        if self.broken is not None:
            raise RecoverableConnectionError(str(self.broken)) from self.broken
        if self._transport is None or not self._transport.connected:
            raise RecoverableConnectionError("connection already closed")

    def open_channel(self) -> Any:
        """Open a channel of py-amqp's. Raises RecoverableConnectionError if the connection is closed."""
        with self.lock:
            self.check()  # py-amqp's Channel would fail with a TypeError
            channel = pyamqp.Channel(self)
            channel.open()
            return channel

    # -- writing

    def send(self, data: bytes) -> None:
        """Write frames."""
        with self.lock:
            self.check()
            try:
                self._transport.write(data)
            except TimeoutError as exc:  # RabbitMQ may have got a part: the connection is useless
                why = self.blocked or "RabbitMQ takes nothing"
                self.broken = RecoverableConnectionError(f"nothing written in {self.patience:g} s: {why}")
                raise self.broken from exc
            except OSError as exc:
                self.broken = exc
                raise
            self.sent_at = time.monotonic()
            self.bytes_sent += 1

    def beat(self) -> None:
        """Send a heartbeat."""
        self.send(b"\x08\x00\x00\x00\x00\x00\x00\xce")

    def maintain(self) -> None:
        """Send a heartbeat if one is due; fail the connection if RabbitMQ has been silent for too long."""
        if not self.heartbeat:
            return
        now = time.monotonic()
        if now - self.received_at > self.heartbeat / 2:
            self.pump()  # a program that rarely publishes would never read RabbitMQ's frames
        if now - self.received_at > 2.5 * self.heartbeat:
            self.fail(RecoverableConnectionError(f"RabbitMQ was silent for {now - self.received_at:.0f} s"))
        elif now - self.sent_at >= self.heartbeat / 2:
            self.beat()

    # -- reading: under the lock

    def blocking_read(self, timeout: float | None = None) -> bool:
        """Handle one frame; py-amqp calls this to wait for an answer. True: py-amqp need not read on."""
        with self.lock:
            if not self._read(self.patience if timeout is None else timeout):
                if timeout is not None:
                    raise TimeoutError("no answer in time")
                raise RecoverableConnectionError(
                    f"no answer from RabbitMQ in {self.patience:g} s {self.blocked}".rstrip()
                )
            return True

    def pump(self) -> None:
        """Handle all frames that have come; wait for nothing."""
        with self.lock:
            self.check()
            while self._read(0):
                pass

    def read_one(self, timeout: float) -> bool:
        """Handle a frame that has come, or wait up to ``timeout`` seconds for one; False if none came."""
        with self.lock:
            self.check()
            return self._read(timeout)

    def _read(self, timeout: float) -> bool:
        frame = self._next()
        while frame is None:
            if not self._fill(timeout):
                return False
            frame = self._next()
        self._handle(*frame)
        return True

    def _fill(self, timeout: float) -> bool:
        """Read from the socket; False if nothing came within ``timeout`` seconds."""
        transport = self._transport
        if transport is None or transport.sock is None:
            raise RecoverableConnectionError("connection already closed")
        sock = transport.sock
        pending = getattr(sock, "pending", None)
        if not (pending is not None and pending()):
            fd = sock.fileno()
            self._readable.register(fd, select.POLLIN)
            try:
                if not self._readable.poll(timeout * 1000):
                    return False
            finally:
                self._readable.unregister(fd)
        try:
            data = sock.recv(_MAX_RECV_BYTES)
        except OSError as exc:
            self.broken = exc
            raise
        if not data:
            self.broken = RecoverableConnectionError("RabbitMQ closed the connection")
            raise self.broken
        self.received_at = time.monotonic()
        self._inbound.feed(data)
        return True

    def _next(self) -> Frame | None:
        try:
            return self._inbound.next()
        except RecoverableConnectionError as exc:
            self.broken = exc
            raise

    def _handle(self, kind: int, channel: int, payload: bytes) -> None:
        whole = self._inbound.delivery(kind, channel, payload)
        if whole is None:
            if kind == 1 and payload[:4] in (_CONNECTION_BLOCKED, _CONNECTION_UNBLOCKED):
                self._alarm(payload)
            else:
                self.on_inbound_frame((kind, channel, payload))
        elif whole:
            target: FrameHandler | None = self.channels.get(channel)
            if target is not None:
                target.arrived(*whole)

    def drop_partial(self, channel: int) -> None:
        """Forget the incomplete delivery of a channel that was closed."""
        self._inbound.drop(channel)

    def _alarm(self, payload: bytes) -> None:
        if payload[:4] == _CONNECTION_BLOCKED:
            self.blocked = "(it has an alarm: " + payload[5 : 5 + payload[4]].decode("utf-8", "replace") + ")"
            log.warning("RabbitMQ blocks publishing %s; messages wait here", self.blocked)
        else:
            self.blocked = ""
            log.warning("RabbitMQ accepts messages again")

    # -- waiting

    def rest(self, timeout: float | None) -> bool:
        """Wait, without the lock, until there are bytes to read or a thread calls :meth:`wake`; True if woken."""
        sock = self._transport.sock if self._transport is not None else None
        if self.broken is not None or sock is None or self._inbound.waiting:
            return False
        pending = getattr(sock, "pending", None)
        if pending is not None and pending():
            timeout = 0
        self.resting = True
        try:
            events = self._either.poll(None if timeout is None else max(0.0, timeout) * 1000)
        except ValueError:  # closed meanwhile
            return False
        finally:
            self.resting = False
        wake = self._wake_read.fileno()
        if any(fd == wake for fd, _ in events):
            with contextlib.suppress(OSError):
                self._wake_read.recv(4096)
            return True
        return False

    def wake(self) -> None:
        """End the present wait, or the next one. Any thread may call it."""
        with contextlib.suppress(OSError):  # full: the owner wakes anyway; closed: it does not wait
            self._wake_write.send(b"\0")
