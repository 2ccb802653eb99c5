"""The contract of inspection: a channel counts, lists and purges queues."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gearmesh.errors import GearmeshError
from gearmesh.interfaces.transport import QueueCounts, SupportsInspection, SupportsParkedListing
from gearmesh.testing.contracts.support import Hold, OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S, eventually

HOUR = 3600 * 10**9
#: Number of rounds after which a message of an unknown task is parked for long, and the longest pause in seconds.
MAX_PARK_ROUNDS = 40
MAX_PARK_S = 60.0
#: Seconds by which the test must have listed parked messages before they return.
LOOKED_IN_TIME_S = 0.3


class InspectionContract(TransportFixtures):
    """Tests of SupportsInspection and SupportsParkedListing; skipped for a channel without them.

    The tests do not check counts that a broker does not give.
    """

    def test_an_empty_queue(self, tap: OpenTap, queue: str) -> None:
        producer = tap()
        assert producer.inspector.count(queue).pending in (0, None)
        assert producer.inspector.purge(queue) == 0
        assert not producer.verbs.lists_delayed or producer.inspector.purge_delayed(queue) == 0
        assert queue not in _names(producer.inspector)

    def test_count_says_in_which_state_messages_are(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        producer = tap()
        producer.publish(queue, *(signature(queue, n) for n in range(5)))
        assert _told(producer.inspector.count(queue), pending=5, held=0, parked=0, dead=0) == QueueCounts(
            queue=queue, pending=5, held=0, parked=0, dead=0
        )
        consumer, (first, second, _) = hold(prefetch=3)
        told = producer.inspector.count(queue)
        assert told.pending in (2, None)
        assert told.queue == queue
        assert told.held in (3, None)
        assert told.consumers in (1, None)
        consumer.settle(first, how="dead", reason="no")
        consumer.settle(second, how="later", at_ns=time.time_ns() + HOUR)
        told = producer.inspector.count(queue)
        assert told.dead in (1, None)
        assert told.parked in (1, None)

    def test_the_queues_there_are(self, tap: OpenTap, queue: str) -> None:
        names = [f"{queue}_a", f"{queue}_{{b}}c", f"{queue}:d: é"]
        producer = tap()
        _names(producer.inspector)
        for name in names:
            producer.publish(name, signature(name))
        assert [name for name in producer.inspector.queues() if name.startswith(queue)] == sorted(names)
        for name in names:
            (message,) = tap(name, prefetch=1).take(1)
            assert name in producer.inspector.queues(), "an unacked delivery must keep the queue in the list"
            message.ack()

    def test_an_empty_message(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        """An empty message is listed, delivered, dead-lettered, retried and purged as any other."""
        producer = tap()
        producer.publish(queue, b"", *([b"x"] if producer.verbs.keeps_order else []))
        consumer, (message,) = hold()
        assert message.body == b""
        if not producer.verbs.keeps_order:
            producer.publish(queue, b"x")
        consumer.settle(message, how="dead", reason="no")
        consumer.close()
        (letter,) = producer.verbs.dead_letters(queue)
        assert (letter.body, letter.reason) == (b"", "no")
        assert producer.verbs.take_dead(queue, [letter.id], retry=True) == 1
        assert producer.waiting(queue) == [b"x", b""]
        consumer = tap(queue, prefetch=2)
        (empty,) = (message for message in consumer.take(2) if not message.body)
        consumer.settle(empty, how="dead", reason="again")
        assert producer.verbs.take_dead(queue, [letter.id], retry=False) == 1
        assert producer.verbs.dead_letters(queue) == []
        consumer.close()
        assert producer.inspector.purge(queue) == 1

    def test_purge_deletes_only_pending_messages_of_its_queue(
        self, tap: OpenTap, hold: Hold, queue: str
    ) -> None:
        producer = tap()
        producer.publish(queue, *(signature(queue, n) for n in range(3)))
        producer.publish(f"{queue}_other", b"x")
        producer.publish(queue, signature(queue, 9), eta_ns=time.time_ns() + HOUR)
        consumer, (_, later) = hold(prefetch=2)
        consumer.settle(later, how="later", at_ns=time.time_ns() + HOUR)
        consumer.close()
        # If a broker hides a parked message until it returns, a purge cannot delete that message.
        shows_parked = isinstance(producer.channel, SupportsParkedListing)
        assert producer.inspector.purge(queue) == 2 + shows_parked, (
            "it deletes messages that a consumer returned, too"
        )
        assert producer.inspector.count(queue).pending in (0, None)
        assert producer.inspector.purge(queue) == 0
        assert producer.waiting(f"{queue}_other") == [b"x"]
        assert not producer.verbs.lists_delayed or len(producer.verbs.delayed()) == 1

    def test_purge_hands_over_the_deleted_messages(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        producer = tap()
        bodies = [signature(queue, n) for n in range(600)]
        producer.publish(queue, *bodies)
        consumer, (held, later) = hold(prefetch=2)
        assert producer.in_order([held.body, later.body]) == bodies[:2] or not producer.verbs.keeps_order
        consumer.settle(later, how="later", at_ns=time.time_ns() + HOUR)
        gone: list[bytes] = []
        count = producer.inspector.purge(queue, gone.extend)
        least = 597 + isinstance(producer.channel, SupportsParkedListing)
        assert count == len(gone) >= least, "only one message may be on its way to the consumer"
        assert len(set(gone)) == count
        assert set(gone) <= set(bodies) - {held.body}
        assert producer.inspector.count(queue).pending in (0, None)

    def test_purge_ends_while_messages_are_sent(self, tap: OpenTap, queue: str) -> None:
        """It deletes all messages that were there when it began."""
        purger, sender = tap(), tap()
        before = {signature(queue, n) for n in range(100)}
        purger.publish(queue, *before)
        ended, sent = threading.Event(), itertools.count(1000)

        def send_until_it_ends() -> bool:
            deadline = time.monotonic() + AWAIT_TIMEOUT_S
            while not ended.wait(0.002):
                if time.monotonic() > deadline:
                    return False
                sender.publish(queue, signature(queue, next(sent)))
            return True

        gone: list[bytes] = []
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send_until_it_ends)
            try:
                count = purger.inspector.purge(queue, gone.extend)
            finally:
                ended.set()
            assert sending.result(), "the purge ended only after the sender"
        assert count == len(gone)
        assert before <= set(gone)
        after = {signature(queue, n) for n in range(1000, next(sent))}
        left = purger.waiting(queue, 100_000)
        assert {*left, *gone} == before | after, "the purge deletes a message or leaves it in the queue"

    def test_purge_delayed_hands_over_the_deleted_messages(self, tap: OpenTap, queue: str) -> None:
        producer = tap()
        if not producer.verbs.lists_delayed:
            pytest.skip("the broker does not list delayed messages")
        later = signature(queue, 1)
        producer.publish(queue, later, eta_ns=time.time_ns() + HOUR)
        gone: list[bytes] = []
        assert producer.inspector.purge_delayed(queue, gone.extend) == 1
        assert gone == [later]

    def test_purge_leaves_held_deliveries(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        producer = tap()
        producer.publish(queue, b"x", b"y")
        consumer, (message,) = hold()
        eventually(lambda: producer.inspector.purge(queue) == 1)
        assert consumer.settle(message, how="head") == ["done"]
        assert consumer.bodies(1) == [message.body]

    def test_purge_delayed(self, tap: OpenTap, queue: str) -> None:
        producer = tap()
        if not producer.verbs.lists_delayed:
            with pytest.raises(GearmeshError, match="delayed"):
                producer.inspector.purge_delayed(queue)
            return
        eta = time.time_ns() + HOUR
        other = f"{queue}_other"
        for n in range(300):
            name = other if n % 3 == 0 else queue
            producer.publish(name, signature(name, n), eta_ns=eta + n * 10**6)
        assert producer.inspector.purge_delayed(queue) == 200
        assert [entry.body for entry in producer.verbs.delayed()] == [
            signature(other, n) for n in range(0, 300, 3)
        ]
        assert producer.inspector.purge_delayed(queue) == 0
        assert producer.inspector.purge_delayed(other) == 100
        assert producer.verbs.delayed() == []

    def test_parked_messages(self, tap: OpenTap, queue: str) -> None:
        producer = tap()
        bodies = [signature(queue, 1), signature(queue, 2)]
        producer.publish(queue, *bodies)
        taker = tap(queue, prefetch=2)
        began = time.time()
        taker.settle(*taker.take(2), how="park")  # the first time, messages return to the tail at once
        for _ in range(MAX_PARK_ROUNDS):  # later, the pauses become longer
            taker.settle(*taker.take(2), how="park")
            gone = time.time()
            parked, one = producer.parked(queue), producer.parked(queue, 1)
            looked = time.time()
            soonest = min((each.until or 0.0 for each in parked), default=0.0)
            if len(parked) == 2 and soonest > looked + 2 * (looked - gone) + LOOKED_IN_TIME_S:
                break  # otherwise the machine was so slow that the messages may have returned
        assert sorted(each.body for each in parked) == sorted(bodies)
        until = [each.until or 0.0 for each in parked]
        assert until == sorted(until)
        # A broker that keeps a message for a pause gives the latest time of its return.
        assert began < until[0] <= until[1] < looked + MAX_PARK_S
        assert all(each.since and began - 1 < each.since < time.time() for each in parked)
        assert len(one) == 1
        assert producer.parked(f"{queue}_other") == []
        message = taker.take(1)[0]
        taker.settle(message, how="later", at_ns=time.time_ns() + HOUR)
        rated = next(each for each in producer.parked(queue) if (each.until or 0) > time.time() + 3000)
        assert rated.body == message.body
        assert producer.waiting(f"{queue}_other") == []

    def test_a_message_is_no_longer_parked_when_it_is_done(self, tap: OpenTap, queue: str) -> None:
        producer = tap()
        producer.publish(queue, signature(queue))
        taker = tap(queue, prefetch=1)
        for _ in range(2):
            taker.settle(*taker.take(1), how="park")
        (message,) = taker.take(1)
        assert producer.parked(queue) == [], "a message that a worker holds is not parked"
        taker.settle(message)
        assert producer.parked(queue) == []


def _names(here: SupportsInspection) -> list[str]:
    try:
        return here.queues()
    except GearmeshError:
        pytest.skip("the broker does not list its queues")


def _told(count: QueueCounts, **zeros: int) -> QueueCounts:
    """Replace counts that the broker does not give by ``zeros``, and leave consumers out."""
    told = {name: getattr(count, name) or zero for name, zero in zeros.items()}
    return QueueCounts(queue=count.queue, **{"pending": count.pending, **told})
