"""Keeps unacked deliveries hidden from other consumers for as long as their consumer lives."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.errors import SQSRefused, SQSUnavailable
from gearmesh.transports.sqs.message import MAX_HIDDEN_S
from gearmesh.transports.sqs.unacked import SQSUnackedDeliveries, Unacked
from gearmesh.units import counted

__all__ = ["BATCH_ENTRIES", "VisibilityThread", "chunks_of", "hide"]

log = logging.getLogger("gearmesh.sqs")

#: Entries of one batch request: SQS allows no more.
BATCH_ENTRIES: Final = 10
#: Seconds between two looks at the deliveries: the shortest and the longest pause.
MIN_LOOK_S, MAX_LOOK_S = 0.05, 5.0
#: Seconds before the thread repeats a request that failed.
RETRY_S: Final = 1.0


def chunks_of(many: Iterable[Unacked]) -> list[list[Unacked]]:
    """Divide deliveries into batches for one request each: up to ten deliveries of one queue."""
    by_queue: dict[str, list[Unacked]] = defaultdict(list)
    for held in many:
        by_queue[held.queue.url].append(held)
    return [
        each[start : start + BATCH_ENTRIES]
        for each in by_queue.values()
        for start in range(0, len(each), BATCH_ENTRIES)
    ]


def hide(client: SQSClient, many: Sequence[tuple[Unacked, int]]) -> list[Unacked]:
    """Set the seconds from now for which SQS hides each delivery; 0: SQS shows it at once.

    Returns the lost deliveries: SQS does not know their receipt handles any more.

    Raises:
        SQSUnavailable: some deliveries may be unchanged. The caller may repeat the call.
    """
    seconds_of = {id(held): seconds for held, seconds in many}

    def send(chunk: list[Unacked]) -> list[Unacked]:
        began = time.monotonic()
        entries = [
            {"ReceiptHandle": held.receipt, "VisibilityTimeout": seconds_of[id(held)]} for held in chunk
        ]
        failed = client.call_batch("change_message_visibility_batch", chunk[0].queue.url, entries)
        check_fault(failed.values(), "sqs:ChangeMessageVisibility")
        for n, held in enumerate(chunk):
            if n not in failed:
                held.visible_at = began + seconds_of[id(held)]
        return [chunk[n] for n in failed]

    lost: list[Unacked] = []
    chunks = chunks_of(held for held, _ in many)
    for part in client.each(send, chunks) if chunks else ():
        lost += part
    return lost


def check_fault(failed: Collection[Any], action: str) -> None:
    """Raise SQSUnavailable if one of the entries failed because of SQS, and not because of its receipt handle."""
    for each in failed:
        if not each.get("SenderFault", True):
            raise SQSUnavailable(f"{action}: {each.get('Message') or ''} ({each.get('Code')})")


class VisibilityThread:
    """Extends the visibility timeouts of one consumer's deliveries, in batches, before half of each is over.

    It returns the deliveries of a consumer that has been silent for a lease. The thread ends with the record.

    Args:
        record: the unacked deliveries.
        client: sends the requests.
        lease: seconds without a sign of life after which the consumer counts as dead; None: it lives as long as its
            process.
    """

    def __init__(self, record: SQSUnackedDeliveries, client: SQSClient, lease: float | None) -> None:
        self._record = weakref.ref(record)
        self._client = client
        self._lease = lease
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._over = False
        self._silent_s = 0.0
        self._alive_at = 0.0
        self._looked_at = time.monotonic()
        self._unavailable = False

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="gearmesh-sqs-visibility", daemon=True)
            self._thread.start()

    def look_soon(self) -> None:
        """Look at the deliveries now, since SQS hides a new one for a short time only."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread: another thread takes its place."""
        self._over = True
        self._wake.set()

    def _loop(self) -> None:
        pause = MIN_LOOK_S
        while not self._over:
            self._wake.wait(pause)
            self._wake.clear()
            record = self._record()
            if record is None or self._over:
                return
            try:
                pause = self._look(record)
                self._unavailable = False
            except (SQSUnavailable, SQSRefused) as exc:
                if not self._unavailable:
                    log.warning(
                        "SQS does not extend the visibility timeouts of this worker's messages: %s", exc
                    )
                self._unavailable = True
                pause = RETRY_S
            except Exception:  # without this thread, running tasks would be delivered again
                log.critical("visibility timeouts are not extended", exc_info=True)
                pause = RETRY_S
            del record

    def _look(self, record: SQSUnackedDeliveries) -> float:
        now = time.monotonic()
        held = list(record.held.values())
        if self._is_silent(record, now) and held:
            record.silence()
            lost = record.lose(held)
            log.warning(
                "consumer %s has been silent for %g s: returned %s",
                record.consumer,
                self._lease,
                counted(lost, "message"),
            )
            hide(self._client, [(each, 0) for each in held])
            return MIN_LOOK_S
        gone = [each for each in held if each.visible_at <= now]
        due = [each for each in held if each.visible_at > now >= each.visible_at - each.hidden_s / 2]
        if due:
            wanted = [(each, min(each.hidden_s, int(each.received_at + MAX_HIDDEN_S - now))) for each in due]
            gone += hide(self._client, [(each, seconds) for each, seconds in wanted if seconds > 0])
        if gone and (count := record.lose(gone)):
            log.warning(
                "SQS shows %s to other consumers, though this worker still holds %s (%s): its visibility timeout is "
                "over, or 12 hours are",
                counted(count, "message"),
                "it" if count == 1 else "them",
                ", ".join(sorted({each.queue.name for each in gone})),
            )
        soonest = min(
            (each.visible_at - each.hidden_s / 2 for each in islice(held, 10_000)), default=now + MAX_LOOK_S
        )
        longest = MAX_LOOK_S if self._lease is None else min(MAX_LOOK_S, self._lease / 4)
        return max(MIN_LOOK_S, min(longest, soonest - time.monotonic()))

    def _is_silent(self, record: SQSUnackedDeliveries, now: float) -> bool:
        """True if the consumer has been silent for a lease. Only the time counts in which this thread has run.

        The cause that stopped the consumer may have stopped this thread, too.
        """
        elapsed, self._looked_at = now - self._looked_at, now
        if self._lease is None:
            return False
        if record.resting or record.alive_at != self._alive_at or not record.held:
            self._alive_at, self._silent_s = record.alive_at, 0.0
        else:
            self._silent_s += min(elapsed, self._lease / 2)
        return self._silent_s >= self._lease
