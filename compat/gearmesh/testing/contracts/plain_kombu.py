"""The contract of kombu's own interface: envelopes, acknowledgement, exchanges."""

from __future__ import annotations

from typing import Any

import kombu
import pytest

from gearmesh.interfaces.transport import SIGNATURE_CONTENT_TYPE
from gearmesh.testing.contracts.support import OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S


class PlainKombuContract(TransportFixtures):
    """Tests of a channel as a kombu program without gearmesh uses it."""

    def test_an_ordinary_message(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        sent: dict[str, Any] = {"x": [1, "é", None]}
        kombu.Producer(tap().channel).publish(sent, routing_key=queue, serializer="json", headers={"h": "1"})
        (message,) = here.take(1)
        assert message.payload == sent
        assert message.headers["h"] == "1"
        message.ack()
        here.close()
        assert tap().waiting(queue) == []

    def test_a_message_with_binary_content(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue)
        kombu.Producer(tap().channel).publish(b"\x00\xff", routing_key=queue, content_type="application/data")
        (message,) = here.take(1)
        assert message.body == b"\x00\xff"

    def test_callbacks_get_the_decoded_body(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        seen: list[Any] = []
        with kombu.Consumer(
            here.channel, [kombu.Queue(queue)], callbacks=[lambda b, m: seen.append(b)], accept=["json"]
        ):
            kombu.Producer(here.channel).publish({"x": 1}, routing_key=queue)
            here.connection.drain_events(timeout=AWAIT_TIMEOUT_S)
        assert seen == [{"x": 1}]

    def test_requeue(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue, prefetch=1)
        producer = kombu.Producer(tap().channel)
        for n in range(2):
            producer.publish({"n": n}, routing_key=queue)
        (message,) = here.take(1)
        message.requeue()
        found = []
        for _ in range(2):
            (message,) = here.take(1)
            found.append(message.payload["n"])
            message.ack()
        assert (found if here.verbs.keeps_order else sorted(found)) == [0, 1]

    def test_reject(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue, prefetch=1)
        kombu.Producer(tap().channel).publish({}, routing_key=queue)
        here.take(1)[0].reject()
        here.close()
        assert tap().waiting(queue) == []

    def test_a_signature_is_its_raw_body(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        producer = kombu.Producer(here.channel)
        kombu.Queue(queue, channel=here.channel).declare()
        producer.publish(signature(queue), routing_key=queue, content_type=SIGNATURE_CONTENT_TYPE)
        assert here.waiting(queue) == [signature(queue)]
        seen: list[Any] = []
        consumer = kombu.Consumer(
            here.channel,
            [kombu.Queue(queue)],
            on_message=seen.append,
            accept=["json", SIGNATURE_CONTENT_TYPE],
        )
        with consumer:
            here.connection.drain_events(timeout=AWAIT_TIMEOUT_S)
        assert seen[0].body == signature(queue)
        assert seen[0].delivery.queue == queue

    def test_ack_and_requeue_of_a_signature(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, signature(queue, 1), signature(queue, 2))
        here = tap(queue, prefetch=1)
        here.take(1)[0].requeue()
        here.stop()
        assert here.waiting(queue) == [signature(queue, 1), signature(queue, 2)]
        here.start()
        found = []
        for _ in range(2):
            (message,) = here.take(1)
            found.append(message.body)
            message.ack()
        assert here.in_order(found) == [signature(queue, 1), signature(queue, 2)]
        here.close()
        assert tap().waiting(queue) == []

    def test_basic_get(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        assert here.channel.basic_get(queue) is None
        here.publish(queue, signature(queue))
        message = here.channel.basic_get(queue)
        assert message.body == signature(queue)
        message.ack()
        assert here.waiting(queue) == []

    def test_without_acknowledgement(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        here.publish(queue, signature(queue))
        seen: list[Any] = []
        with kombu.Consumer(here.channel, [kombu.Queue(queue)], on_message=seen.append, no_ack=True):
            here.connection.drain_events(timeout=AWAIT_TIMEOUT_S)
        here.close()
        assert [message.body for message in seen] == [signature(queue)]
        assert tap().waiting(queue) == []

    @pytest.mark.parametrize("kind", ["direct", "topic"])
    def test_exchanges(self, tap: OpenTap, queue: str, kind: str) -> None:
        here = tap()
        exchange = kombu.Exchange(f"{queue}_exchange", kind)
        bound = kombu.Queue(queue, exchange, routing_key="some.key")
        seen: list[Any] = []
        with kombu.Consumer(here.channel, [bound], on_message=seen.append):
            kombu.Producer(tap().channel, exchange).publish({"x": 1}, routing_key="some.key")
            here.connection.drain_events(timeout=AWAIT_TIMEOUT_S)
        assert seen[0].payload == {"x": 1}

    def test_fanout(self, tap: OpenTap, queue: str) -> None:
        exchange = kombu.Exchange(f"{queue}_fanout", "fanout")
        listeners = []
        for n in range(2):
            here, seen = tap(), list[Any]()
            own = kombu.Queue(f"{queue}_{n}", exchange, auto_delete=True)
            consumer = kombu.Consumer(here.channel, [own], on_message=seen.append, no_ack=True)
            consumer.consume()
            here.drain()
            listeners.append((here, seen))
        kombu.Producer(tap().channel, exchange).publish({"x": 1}, routing_key="")
        for here, seen in listeners:
            for _ in range(60):
                if not seen:
                    here.drain(0.5)
            assert [message.payload for message in seen] == [{"x": 1}]
