"""Background thread of one consumer: extends the leases of its deliveries, or returns them if it is silent."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from gearmesh.errors import GearmeshError
from gearmesh.transports.pubsub.api import PubSubAPI, PubSubUnavailable, failed_acks
from gearmesh.transports.pubsub.notes import MessageNotes
from gearmesh.transports.pubsub.receiver import MAX_LEASE_S
from gearmesh.transports.pubsub.unacked import PubSubUnackedDeliveries, Unacked
from gearmesh.units import counted, duration

__all__ = ["LeaseKeeper"]

log = logging.getLogger("gearmesh.pubsub")

#: Seconds of the shortest lease that gearmesh asks for: Pub/Sub's own shortest ack deadline.
MIN_LEASE_S: Final = 10
#: Seconds between two looks. A task that is done sooner costs no request for its lease.
CHECK_INTERVAL_S: Final = 2.5
#: The thread extends leases that end within this many checks.
MIN_CHECKS_LEFT: Final = 3


class LeaseKeeper:
    """Extends leases as long as the consumer lives and the tasks run.

    The thread ends when no object refers to the consumer's record any more. A forked process has to start its own.

    Args:
        api: Pub/Sub.
        unacked: the deliveries.
        notes: learns which messages were lost.
        lease: seconds for which a consumer may be silent. Leases are as long, within Pub/Sub's limits.
        heartbeats: False: the consumer lives as long as its process.
        max_extension: seconds after which the thread no longer extends the lease of a delivery; 0: never.
    """

    def __init__(
        self,
        api: PubSubAPI,
        unacked: PubSubUnackedDeliveries,
        notes: MessageNotes,
        *,
        lease: float = 30.0,
        heartbeats: bool = True,
        max_extension: float = 0.0,
    ) -> None:
        self._api = api
        self._unacked = weakref.ref(unacked)
        self._notes = notes
        self._silence_s = lease if heartbeats else float("inf")
        self._extension_s = max(MIN_LEASE_S, min(MAX_LEASE_S, -int(-lease // 1)))
        self._max_extension_s = max_extension or float("inf")
        self._interval_s = min(CHECK_INTERVAL_S, lease / 4) if heartbeats else CHECK_INTERVAL_S
        self._over = threading.Event()
        self._pid = 0
        #: seconds for which the consumer has been silent, and the monotonic time of its last sign of life
        self._silent, self._alive_at = 0.0, 0.0

    def start(self) -> None:
        """Start the thread, unless this process has started it."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._over = threading.Event()
            threading.Thread(
                target=self._loop, args=(self._over,), name="gearmesh-pubsub-leases", daemon=True
            ).start()

    def stop(self) -> None:
        """End the thread, if it runs."""
        self._over.set()

    def _loop(self, over: threading.Event) -> None:
        looked_at = time.monotonic()
        while not over.wait(self._interval_s):
            unacked = self._unacked()
            if unacked is None:
                return
            now = time.monotonic()
            try:
                self.look(unacked, now, now - looked_at)
            except PubSubUnavailable as exc:
                log.warning("leases could not be extended: %s", exc)
            except GearmeshError as exc:
                log.error("leases cannot be extended: %s", exc)
            looked_at = now
            del unacked

    def look(self, unacked: PubSubUnackedDeliveries, now: float, elapsed: float) -> None:
        """Extend the leases that end soon, or return all deliveries if the consumer was silent for too long."""
        held = unacked.snapshot()
        if unacked.resting or unacked.alive_at != self._alive_at or not held:
            self._silent, self._alive_at = 0.0, unacked.alive_at
        else:
            # Only watched time counts: the cause that stopped the consumer may have stopped this thread, too.
            self._silent += min(elapsed, 2 * self._interval_s)
        if self._silent >= self._silence_s:
            self._silent = 0.0
            self._return(unacked, held)
            return
        overdue = [each for each in held if now - each.received_at >= self._max_extension_s]
        if overdue:
            self._let_go(unacked, overdue)
        soon = now + MIN_CHECKS_LEFT * self._interval_s
        by_subscription: dict[str, list[Unacked]] = defaultdict(list)
        for each in held:
            if each.leased_until < soon and now - each.received_at < self._max_extension_s:
                by_subscription[each.subscription].append(each)
        for subscription, some in by_subscription.items():
            self._extend(unacked, subscription, some, now)

    def _extend(
        self, unacked: PubSubUnackedDeliveries, subscription: str, some: Sequence[Unacked], now: float
    ) -> None:
        by_ack_id = {each.ack_id: each for each in some}
        for call, ack_ids in self._api.modify(subscription, list(by_ack_id), self._extension_s):
            refused: dict[str, str] = {}
            try:
                call.result()
            except GearmeshError as exc:
                refused = failed_acks(exc.__cause__) or {}
                if not refused:
                    raise
            lost = [by_ack_id[ack_id] for ack_id in refused if ack_id in by_ack_id]
            if lost:
                log.warning(
                    "the leases of %s have ended: Pub/Sub delivers them again", counted(len(lost), "message")
                )
                self._lose(unacked, lost)
            for ack_id in ack_ids:
                by_ack_id[ack_id].leased_until = now + self._extension_s

    def _return(self, unacked: PubSubUnackedDeliveries, held: Sequence[Unacked]) -> None:
        """Return the deliveries of a silent consumer at once."""
        log.warning(
            "consumer %s has been silent for %s: returned %s",
            unacked.consumer,
            duration(self._silence_s),
            counted(len(held), "message"),
        )
        gone = self._lose(unacked, held)
        by_subscription: dict[str, list[str]] = defaultdict(list)
        for each in gone:
            if each.leased_until > time.monotonic():
                by_subscription[each.subscription].append(each.ack_id)
        for subscription, ack_ids in by_subscription.items():
            for call, _ in self._api.modify(subscription, ack_ids, 0):
                call.result()

    def _let_go(self, unacked: PubSubUnackedDeliveries, overdue: Sequence[Unacked]) -> None:
        log.warning(
            "%s ran for longer than gcppubsub.max_extension, %s: Pub/Sub delivers them again",
            counted(len(overdue), "task"),
            duration(self._max_extension_s),
        )
        self._lose(unacked, overdue)

    def _lose(self, unacked: PubSubUnackedDeliveries, some: Sequence[Unacked]) -> list[Unacked]:
        gone = unacked.forget([each.delivery.id for each in some], lost=True)
        for each in gone:
            self._notes.of(each.subscription, each.message_id).lost = True
        return gone
