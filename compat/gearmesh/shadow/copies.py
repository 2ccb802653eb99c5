"""Copies a sample of a producer's calls to the shadow queue, without making the producer wait."""

from __future__ import annotations

import logging
import queue
import threading
import time
import zlib
from collections.abc import Callable, Collection
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.config import Config
from gearmesh.errors import ConfigError
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.transport import SupportsInspection
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature

__all__ = ["SHADOW_QUEUE", "ShadowCopies", "copy_calls", "is_sampled"]

#: The queue of the copies.
SHADOW_QUEUE: Final = "gearmesh_shadow"
#: Copies that wait in the producer; more are dropped.
MAX_WAITING_COPIES: Final = 1000
#: Copies that wait in the shadow queue while no run consumes them; more are dropped.
MAX_QUEUED_COPIES: Final = 10_000
#: Seconds for which the thread waits for more copies before it sends the first one. The call itself is sent first, and
#: the thread rarely competes with the caller for the interpreter.
LINGER_S: Final = 0.02
#: Copies that the thread sends at once.
MAX_BATCH_COPIES: Final = 100
#: Copies after which the thread counts the messages in the shadow queue again.
COUNT_EVERY_COPIES: Final = 100
#: Seconds for which the thread may need to send its last copies when it is stopped.
STOP_TIMEOUT_S: Final = 5.0

log = logging.getLogger("gearmesh.shadow")


def is_sampled(uuid: str, sample: float) -> bool:
    """Return True if a call is in a sample of this share. It depends on the UUID alone, so all processes agree."""
    return zlib.crc32(uuid.encode()) < sample * 2**32


def copy_calls(
    app: App, tasks: Collection[str], sample: float = 0.1, *, shadow_queue: str = SHADOW_QUEUE
) -> ShadowCopies:
    """From now on, copy a sample of an app's calls of these tasks to the shadow queue.

    Args:
        app: the producer's app.
        tasks: names of tasks.
        sample: the share of the calls, above 0, at most 1.
        shadow_queue: the queue of the copies.

    Raises:
        ConfigError: ``sample`` is not above 0, or is above 1.
    """
    if not 0 < sample <= 1:
        raise ConfigError(f"sample is {sample!r}, expected a share above 0, at most 1")
    copies = ShadowCopies(lambda: app.config, frozenset(tasks), sample, shadow_queue)
    app.before_publish(copies.see)
    return copies


class ShadowCopies:
    """The hook of one producer, and the thread that sends its copies. Safe in threads.

    Args:
        config: returns the producer's settings.
        tasks: names of tasks. sample: the share of the calls. shadow_queue: the queue of the copies.
    """

    def __init__(
        self, config: Callable[[], Config], tasks: frozenset[str], sample: float, shadow_queue: str
    ) -> None:
        self._config = config
        self._tasks = tasks
        self._sample = sample
        self._queue = shadow_queue
        self._waiting: queue.Queue[Signature | None] = queue.Queue(MAX_WAITING_COPIES)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._sent = 0
        #: Number of sent copies at which the thread counts the shadow queue again.
        self._counts_at = 0
        #: Copies that were dropped because too many waited, or because the broker refused them.
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Roughly the number of copies that the thread has not sent yet."""
        return self._waiting.qsize()

    def see(self, sig: Signature) -> None:
        """Copy a signature that is about to be published, if it is in the sample. It never raises and never blocks."""
        if sig.Name in self._tasks and is_sampled(sig.UUID, self._sample):
            try:
                self._waiting.put_nowait(_copy(sig, self._queue))
            except queue.Full:
                self.dropped += 1
            self._start()

    def close(self) -> None:
        """Send the waiting copies, and end the thread. A second call does nothing."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(STOP_TIMEOUT_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="gearmesh-shadow-copies", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        config: Config = self._config()
        batch, ended = self._next_batch()
        while batch:
            try:
                with connect(config) as connection:
                    channel = connection.channel()
                    while batch:
                        self._send(channel, batch)
                        batch, ended = ([], True) if ended else self._next_batch()
            except Exception as exc:  # the producer must not suffer from its shadow
                self.dropped += len(batch)
                log.warning("copies of calls are not sent: %s", exc)
                batch, ended = ([], True) if ended else self._next_batch()

    def _next_batch(self) -> tuple[list[Signature], bool]:
        """Wait for copies; return those of one moment, and True if the thread must end after it has sent them."""
        batch: list[Signature] = []
        copy = self._waiting.get()
        if copy is not None and not self._waiting.qsize():
            time.sleep(LINGER_S)
        while copy is not None:
            batch.append(copy)
            if len(batch) == MAX_BATCH_COPIES:
                return batch, False
            try:
                copy = self._waiting.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _send(self, channel: Any, batch: list[Signature]) -> None:
        if self._sent >= self._counts_at and isinstance(channel, SupportsInspection):
            waiting = channel.count(self._queue).pending or 0
            if waiting >= MAX_QUEUED_COPIES:
                self.dropped += len(batch)
                return
            self._counts_at = self._sent + COUNT_EVERY_COPIES
        channel.commit([Commit(publishes=tuple([Publish(self._queue, encode(sig)) for sig in batch]))])
        self._sent += len(batch)


def _copy(sig: Signature, shadow_queue: str) -> Signature:
    """Copy the call without its follow-up tasks. It keeps the UUID, by which the run finds the stored outcome."""
    return sig.evolve(
        RoutingKey=shadow_queue,
        ETA=None,
        GroupUUID="",
        GroupTaskCount=0,
        ChordCallback=None,
        OnSuccess=None,
        OnError=None,
        RetryCount=0,
        RetryTimeout=0,
        IgnoreWhenTaskNotRegistered=False,
    )
