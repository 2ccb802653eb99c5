"""The contract of deliveries: order, bytes, prefetch, waiting."""

from __future__ import annotations

import json
import threading
import time

import kombu
import pytest
from kombu.message import Message

from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.testing.contracts.store import race
from gearmesh.testing.contracts.support import Hold, OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S

ODD = [
    b"\x00\xff not JSON",
    b"{}",
    b"null",
    b'{"body":"x"}',
    b'{"Name":"properties","UUID":"u"}',
    json.dumps({"UUID": "u", "Name": "n", "body": "", "properties": {}}).encode(),
]


class DeliveryContract(TransportFixtures):
    """Messages are delivered in order, unchanged, within the prefetch and without delay."""

    def test_first_in_first_out(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(50)]
        tap().publish(queue, *bodies)
        assert tap(queue).bodies(50) == bodies

    def test_one_commit_may_publish_to_several_queues(self, tap: OpenTap, queue: str) -> None:
        publishes = tuple(Publish(f"{queue}{n % 2}", signature(queue, n)) for n in range(4))
        assert tap().verbs.commit([Commit(publishes=publishes)]) == ["done"]
        assert tap(f"{queue}0").bodies(2) == [signature(queue, 0), signature(queue, 2)]
        assert tap(f"{queue}1").bodies(2) == [signature(queue, 1), signature(queue, 3)]

    def test_a_message_published_during_a_wait_comes_at_once(self, tap: OpenTap, queue: str) -> None:
        here, there = tap(queue), tap()
        here.quiet(0.05)
        publisher = threading.Timer(0.1, there.publish, [queue, b"x"])
        started = time.monotonic()
        publisher.start()
        assert here.bodies(1) == [b"x"]
        assert time.monotonic() - started < 15, (
            "the message came only after a pause, or at the end of a long poll"
        )
        publisher.join()

    def test_bytes_are_unchanged(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, *ODD)
        here = tap(queue)
        messages = here.take(len(ODD))
        assert here.in_order(message.body for message in messages) == ODD
        assert {message.content_type for message in messages} == {SIGNATURE_CONTENT_TYPE}

    def test_large_bodies(self, tap: OpenTap, queue: str) -> None:
        bodies = [bytes([65 + n]) * self.large_body_bytes for n in range(3)]
        tap().publish(queue, *bodies)
        assert tap(queue).bodies(3) == bodies

    def test_a_thousand_at_once(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(1000)]
        assert tap().publish(queue, *bodies) == ["done"] * 1000
        here = tap(queue)
        messages = here.take(1000)
        assert here.in_order(message.body for message in messages) == bodies
        assert here.settle(*messages) == ["done"] * 1000
        assert here.waiting(queue) == []

    def test_identical_bytes_are_two_deliveries(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        here, (first, second) = hold(b"same", b"same", prefetch=2)
        assert first.delivery.id != second.delivery.id
        assert here.settle(first) == ["done"]
        here.close()
        assert tap().waiting(queue) == [b"same"]

    def test_a_delivery_says_whose_it_is(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        here = tap(queue, consumer="somebody")
        (message,) = here.take(1)
        delivery = message.delivery
        assert (delivery.queue, delivery.consumer, delivery.redelivered) == (queue, "somebody", 0)
        assert here.name == "somebody"

    def test_consumers_have_names_of_their_own(self, tap: OpenTap) -> None:
        names = {tap().name for _ in range(3)}
        assert len(names) == 3
        assert "" not in names

    def test_several_queues_in_one_consumer(self, tap: OpenTap, queue: str) -> None:
        queues = [f"{queue}{n}" for n in range(3)]
        producer = tap()
        for name in queues:
            producer.publish(name, *(signature(name, n) for n in range(5)))
        messages = tap(*queues, prefetch=4)
        seen: dict[str, list[bytes]] = {name: [] for name in queues}
        for _ in range(15):
            (message,) = messages.take(1)
            seen[message.delivery.queue].append(message.body)
            messages.settle(message)
        found = {name: messages.in_order(bodies) for name, bodies in seen.items()}
        assert found == {name: [signature(name, n) for n in range(5)] for name in queues}

    def test_a_busy_queue_does_not_starve_another(self, tap: OpenTap, queue: str) -> None:
        busy, rare = f"{queue}_busy", f"{queue}_rare"
        producer = tap()
        producer.publish(busy, *(signature(busy, n) for n in range(100)))
        producer.publish(rare, b"rare")
        here = tap(busy, rare, prefetch=1)
        for _ in range(10):
            (message,) = here.take(1)
            here.settle(message)
            if message.body == b"rare":
                return
        pytest.fail("ten messages came from the busy queue, and none from the other")

    def test_the_prefetch_count_bounds_held_deliveries(self, hold: Hold, queue: str) -> None:
        here, held = hold(*(signature(queue, n) for n in range(10)), prefetch=3)
        here.quiet()
        given = {message.body for message in held}
        left = [body for body in (signature(queue, n) for n in range(10)) if body not in given]
        assert here.waiting(queue) == left
        here.settle(held[1])
        assert here.bodies(1) == left[:1] or not here.verbs.keeps_order
        here.quiet()
        here.channel.basic_qos(0, 5, False)
        assert here.bodies(2) == left[1:3] or not here.verbs.keeps_order
        here.quiet()

    def test_pending_looks_without_taking(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        bodies = [signature(queue, n) for n in range(5)]
        here.publish(queue, *bodies)
        if here.verbs.lists_pending:
            assert here.waiting(queue, 2) == bodies[:2]
        assert here.waiting(queue) == bodies
        if here.inspector.count(queue).pending is not None:
            assert here.channel.queue_declare(queue).message_count == 5
        assert here.waiting(f"{queue}_none") == []

    def test_purge(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        here.publish(queue, b"1", b"2", b"3")
        assert here.channel.queue_purge(queue) == 3
        assert here.waiting(queue) == []
        assert here.channel.queue_purge(queue) == 0

    def test_two_consumers_share_without_doubling(self, tap: OpenTap, queue: str) -> None:
        count = 400
        bodies = [signature(queue, n) for n in range(count)]
        tap().publish(queue, *bodies)
        seen: list[bytes] = []

        def work(_: int) -> None:
            here = tap(queue, prefetch=5)
            while len(seen) < count:
                here.drain()
                batch = [here.got.popleft() for _ in range(len(here.got))]
                seen.extend(bytes(message.body) for message in batch)
                assert here.settle(*batch) == ["done"] * len(batch)

        race(2, work)
        assert sorted(seen) == sorted(bodies)

    def test_priority(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        if not getattr(here.channel, "supports_priority", False):
            pytest.skip("this transport has no priorities")
        order = [(0, b"a"), (5, b"b"), (9, b"c"), (5, b"d"), (0, b"e")]
        here.verbs.commit(
            [Commit(publishes=(Publish(queue, body, 0, priority),)) for priority, body in order]
        )
        assert tap(queue).bodies(5) == [b"c", b"b", b"d", b"a", b"e"]

    def test_timeout(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        for timeout in (0.2, 0):
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                here.connection.drain_events(timeout=timeout)
            assert timeout * 0.9 <= time.monotonic() - started < timeout + 20

    def test_waiting_does_not_spin(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        here.quiet(0.05)
        started = time.process_time()
        with pytest.raises(TimeoutError):
            here.connection.drain_events(timeout=1)
        assert time.process_time() - started < 0.2

    def test_wake_ends_a_wait_from_another_thread(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        here.quiet(0.05)
        over = threading.Event()

        def wake() -> None:
            while not over.wait(0.05):
                here.verbs.wake()

        waker = threading.Thread(target=wake)
        waker.start()
        started = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                here.connection.drain_events(timeout=60)
        finally:
            over.set()
            waker.join()
        assert time.monotonic() - started < 30

    def test_messages_that_a_failing_callback_did_not_see_still_come(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(3)]
        here = tap()
        here.publish(queue, *bodies)
        seen: list[bytes] = []

        def fail_once(message: Message) -> None:
            seen.append(message.body)
            if len(seen) == 1:
                raise ZeroDivisionError

        with kombu.Consumer(here.channel, [kombu.Queue(queue)], on_message=fail_once):
            with pytest.raises(ZeroDivisionError):
                here.connection.drain_events(timeout=AWAIT_TIMEOUT_S)
            deadline = time.monotonic() + AWAIT_TIMEOUT_S
            while len(seen) < 3 and time.monotonic() < deadline:
                here.drain()
        assert here.in_order(seen) == bodies
