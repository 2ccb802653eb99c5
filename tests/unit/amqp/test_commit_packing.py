"""The commit engine packs a Commit: it orders the messages to publish, and acknowledges the delivery after them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec
import pytest
from amqp.exceptions import RecoverableConnectionError
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.amqp.parsing import parse

from gearmesh.config import AMQPConfig
from gearmesh.errors import LocalProtocolError, PublishError
from gearmesh.interfaces.commit import Commit, Delivery, Publish, Settle, Token
from gearmesh.transports.amqp.commit_engine import CommitEngine
from gearmesh.transports.amqp.delivery_tags import AckTracker
from gearmesh.transports.amqp.frames import OutgoingMessage, QueueDeclaration, ack, nack
from gearmesh.transports.amqp.topology import Topology, rungs_of
from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER, AMQPUnackedDeliveries, Unacked
from gearmesh.transports.unacked import consumer_name
from gearmesh.wire.codec import encode
from gearmesh.wire.signature import Signature

SECOND = 10**9
#: Unix ns at which all this happens, a whole second.
NOW = 1_700_000_000 * SECOND
NOW_MS = NOW // 10**6


class Broker:
    """Stands in for the connection and its parts, and records their calls in order."""

    def __init__(self, **settings: Any) -> None:
        self.topology = Topology(AMQPConfig(**settings), "machinery_tasks")
        self.publisher = self.declarer = self
        self.lock = threading.RLock()
        self.log: list[tuple[str, Any]] = []
        #: the error with which the next publish, or the next frame, fails
        self.refuses: Exception | None = None
        self.breaks: Exception | None = None

    # -- the connection

    def check(self) -> None: ...

    def send(self, data: bytes) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.log.append(("frames", data))

    # -- the channel that brought the deliveries

    def settled(self, held: Unacked) -> None: ...

    def barrier(self) -> None:
        self.log.append(("barrier", None))

    # -- the connection again

    def close_if_settled(self) -> None: ...

    # -- its publisher

    def publish(self, batch: Sequence[OutgoingMessage]) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.log.append(("publish", list(batch)))

    def stream(
        self,
        chunks: Iterable[Sequence[OutgoingMessage]],
        taken: Callable[[int], None],
        *,
        again: bool = False,
    ) -> None:
        for chunk in chunks:
            self.log.append(("publish", list(chunk)))
        self.log.append(("again", again))

    # -- the declarer

    def ensure(self, queue: QueueDeclaration) -> None:
        self.log.append(("declare", queue))

    # -- the crash counts

    def clear(self, held: Unacked) -> None:
        self.log.append(("clear", held.delivery.id))

    # -- for the tests

    def of(self, kind: str) -> list[Any]:
        return [what for each, what in self.log if each == kind]

    @property
    def published(self) -> list[OutgoingMessage]:
        return [item for batch in self.of("publish") for item in batch]

    @property
    def declared(self) -> list[str]:
        return [queue.name for queue in self.of("declare")]

    @property
    def settlements(self) -> list[bytes]:
        """The frames that acknowledge or put back, without their number."""
        return [payload for data in self.of("frames") for _, _, payload in parse(data)]


class Engine(CommitEngine):
    """The real commit engine over a stand-in for the connection."""

    def __init__(self, broker: Broker) -> None:
        unacked = UNACKED_BY_CONSUMER.get(consumer_name())
        super().__init__(cast(Any, broker), unacked, cast(Any, broker))
        self.tags = AckTracker(cast(Any, broker), cast(Any, broker), 3)
        self._delivered = 0

    def deliver(
        self,
        body: bytes = b"body",
        *,
        headers: dict[str, Any] | None = None,
        unacked: AMQPUnackedDeliveries | None = None,
        properties: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Unacked:
        """Hold a message as RabbitMQ delivers it."""
        unacked = unacked or self.unacked
        self._delivered += 1
        self.tags.delivered(self._delivered)
        delivery = Delivery(queue="jobs", consumer=unacked.consumer, id=unacked.new_id(body), **fields)
        all_properties = {"application_headers": headers} if headers is not None else {}
        held = Unacked(
            delivery, body, all_properties | (properties or {}), self.tags, tag=self._delivered, source="t.1"
        )
        unacked.add(held)
        return held


@pytest.fixture(autouse=True)
def _the_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def engine(broker: Broker) -> Engine:
    return Engine(broker)


def settle(held: Unacked, how: Any = "ack", **fields: Any) -> Commit:
    return Commit(settle=Settle(held.delivery, how, **fields))


def method(frames: bytes) -> bytes:
    ((_, _, payload),) = parse(frames)
    return payload


# -- publishes


def test_messages_are_published_in_the_order_of_the_commits(engine: Engine, broker: Broker) -> None:
    commits = [
        Commit(publishes=(Publish("mail", b"1"), Publish("machinery_task", b"2", priority=5))),
        Commit(),
        Commit(publishes=(Publish("mail", b"3"),)),
    ]
    assert engine.commit(commits) == ["done"] * 3
    mail, default = engine.topology.target("mail"), engine.topology.target("machinery_task")
    assert broker.published == [
        OutgoingMessage("machinery_exchange", "mail", b"1", queue=mail),
        OutgoingMessage("machinery_exchange", "machinery_task", b"2", priority=5, queue=default),
        OutgoingMessage("machinery_exchange", "mail", b"3", queue=mail),
    ]
    assert len(broker.of("publish")) == 1, "all messages are in one batch"
    assert broker.declared == ["mail", "machinery_tasks"], "each queue once"


def test_a_commit_that_publishes_nothing_asks_for_no_confirm(engine: Engine, broker: Broker) -> None:
    assert engine.commit([settle(engine.deliver())]) == ["done"]
    assert broker.of("publish") == []


def test_rabbitmq_has_all_messages_before_a_delivery_is_acknowledged(engine: Engine, broker: Broker) -> None:
    first, second = engine.deliver(), engine.deliver()
    commits = [
        Commit(publishes=(Publish("mail", b"1"),), settle=Settle(first.delivery)),
        Commit(publishes=(Publish("mail", b"2"),), settle=Settle(second.delivery)),
    ]
    engine.commit(commits)
    order = [kind for kind, _ in broker.log if kind in ("publish", "frames")]
    assert order == ["publish", "frames"]
    assert [item.body for item in broker.published] == [b"1", b"2"]
    assert broker.settlements == [method(ack(3, 2, multiple=True))], "one frame acknowledges both"
    assert engine.unacked.held == {}


def test_nothing_is_settled_if_rabbitmq_does_not_take_the_messages(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    broker.refuses = PublishError("full")
    with pytest.raises(PublishError):
        engine.commit([Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery))])
    assert broker.of("frames") == []
    assert engine.unacked.held == {held.delivery.id: held}, "so the same commit can be repeated"


def test_chunks_of_a_stream_are_packed_when_they_are_asked_for(engine: Engine, broker: Broker) -> None:
    def chunks() -> Iterable[Sequence[Commit]]:
        for number in range(3):
            assert len(broker.of("publish")) == number
            yield [Commit(publishes=(Publish("mail", b"%d" % number),))] * 2

    engine.stream(chunks(), lambda count: None, again=True)
    assert [[item.body for item in batch] for batch in broker.of("publish")] == [
        [b"0", b"0"],
        [b"1", b"1"],
        [b"2", b"2"],
    ]
    assert broker.of("again") == [True]


# -- headers


def headers_of(engine: Engine, broker: Broker, body: bytes) -> Any:
    engine.commit([Commit(publishes=(Publish("mail", body),))])
    return broker.published[-1].headers


def test_headers_of_the_signature_travel_in_the_message_as_far_as_go_can_send_them_on(
    engine: Engine, broker: Broker
) -> None:
    """Go cannot publish a signature again whose message had a number or an object among the headers."""
    headers = {
        "text": '"é"',
        "yes": "true",
        "list": '["a",["b",false]]',
        "number": "1",
        "null": "null",
        "object": '{"a":"b"}',
        "mixed": '["a",1]',
        "x" * 256: '"too long a name"',
    }
    sig = Signature(
        UUID="u", Name="n", Headers={name: msgspec.Raw(raw.encode()) for name, raw in headers.items()}
    )
    found = headers_of(engine, broker, encode(sig))
    assert found == {"text": "é", "yes": True, "list": ["a", ["b", False]]}


@pytest.mark.parametrize(
    "body",
    [
        encode(Signature(UUID="u", Name="n")),
        encode(Signature(UUID="u", Name="n", Headers={})),
        encode(Signature(UUID="u", Name="n", Headers={"a": msgspec.Raw(b"1")})),
        encode(
            Signature(
                UUID="u", Name="n", OnSuccess=(Signature(Name="m", Headers={"a": msgspec.Raw(b'"b"')}),)
            )
        ),
        b'{"Headers":{"a"',
        b'"Headers":',
        b"",
    ],
    ids=["none", "empty", "only numbers", "of what follows", "cut off", "no signature", "empty body"],
)
def test_a_message_without_such_headers_has_no_table(engine: Engine, broker: Broker, body: bytes) -> None:
    assert headers_of(engine, broker, body) is None


# -- messages that may have been sent before


@pytest.mark.parametrize(
    ("fields", "marked"),
    [
        ({}, False),
        ({"redelivered": 1}, True),
        ({"redelivered": 1, "duplicate_attempt": 1}, False),
        ({"redelivered": 2, "duplicate_attempt": 1}, True),
        ({"redelivered": 1, "duplicate_attempt": 2}, True),
    ],
    ids=["delivered once", "redelivered", "a possible duplicate", "redelivered, too", "met again"],
)
def test_messages_of_a_redelivered_task_are_marked(
    engine: Engine, broker: Broker, fields: dict[str, int], marked: bool
) -> None:
    """Its last consumer may have sent the same message; a worker that gets a marked one waits for the other one."""
    held = engine.deliver(**fields)
    engine.commit([Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery))])
    (item,) = broker.published
    assert item.headers == ({"x-gearmesh-again": 1} if marked else None)


def test_a_repeated_commit_marks_the_messages_it_publishes(engine: Engine, broker: Broker) -> None:
    sig = encode(Signature(UUID="u", Name="n", Headers={"a": msgspec.Raw(b'"b"')}))
    engine.commit([Commit(publishes=(Publish("mail", sig),))], again=True)
    engine.commit(
        [Commit(publishes=(Publish("mail", b"x"),), again=True), Commit(publishes=(Publish("mail", b"y"),))]
    )
    assert [item.headers for item in broker.published] == [
        {"a": "b", "x-gearmesh-again": 1},
        {"x-gearmesh-again": 1},
        None,
    ]


# -- delays


@pytest.mark.parametrize("eta_ns", [0, NOW - 1, NOW], ids=["no time", "past", "now"])
def test_a_message_whose_time_has_come_is_published_at_once(
    engine: Engine, broker: Broker, eta_ns: int
) -> None:
    engine.commit([Commit(publishes=(Publish("mail", b"1", eta_ns),))])
    assert broker.published == [
        OutgoingMessage("machinery_exchange", "mail", b"1", queue=engine.topology.target("mail"))
    ]


def test_a_delayed_message_passes_through_delay_queues_to_its_target(engine: Engine, broker: Broker) -> None:
    body = b'{"Headers":{"trace":"x"}}'
    engine.commit([Commit(publishes=(Publish("mail", body, NOW + 1_500_000_001, 7),))])
    place = engine.topology.due("mail")
    rungs = [f"gearmesh:delay:{rung}" for rung in rungs_of(1501)]
    assert broker.published == [
        OutgoingMessage(rungs[0], place.name, body, {"trace": "x", "CC": rungs}, priority=7, queue=place)
    ]
    assert broker.declared == ["mail", place.name]


@pytest.mark.parametrize("exchange_type", ["direct", "topic", "fanout"])
def test_each_delay_ends_in_the_exchange(exchange_type: str) -> None:
    broker = Broker(exchange_type=exchange_type)
    engine = Engine(broker)
    engine.commit([Commit(publishes=(Publish("mail.new", b"1", NOW + 40_000_000),))])
    (item,) = broker.published
    assert item.routing_key == "gearmesh:due:machinery_exchange:mail.new"
    assert item.queue is not None
    assert item.queue.arguments["x-dead-letter-routing-key"] == "mail.new"


@pytest.mark.parametrize("ms", [40, 1500])
def test_the_one_queue_for_delayed_messages_takes_each_with_its_expiration(ms: int) -> None:
    broker = Broker(delayed_queue="later")
    engine = Engine(broker)
    engine.commit([Commit(publishes=(Publish("mail", b"1", NOW + ms * 10**6),))])
    (item,) = broker.published
    assert (item.exchange, item.routing_key, item.expiration) == ("machinery_exchange", "later", str(ms))
    assert item.headers is None


def test_a_delay_that_is_too_long_settles_and_sends_nothing(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    late = NOW + 2000 * 86_400 * SECOND
    with pytest.raises(LocalProtocolError, match="2000 days"):
        engine.commit(
            [
                Commit(
                    publishes=(Publish("mail", b"1"), Publish("mail", b"2", late)),
                    settle=Settle(held.delivery),
                )
            ]
        )
    assert (broker.of("publish"), broker.of("frames")) == ([], [])
    assert held.delivery.id in engine.unacked.held


# -- settlement of the delivery


def test_an_acknowledged_delivery_is_held_no_more(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    assert engine.commit([settle(held)]) == ["done"]
    assert broker.settlements == [method(ack(3, 1, multiple=True))]
    assert engine.unacked.held == engine.unacked.open == {}


def test_a_kept_delivery_goes_on_being_held(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    keep = Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery, "keep"))
    assert engine.commit([keep, keep]) == ["done", "done"]
    assert len(broker.published) == 2
    assert broker.of("frames") == []
    assert engine.unacked.held == {held.delivery.id: held}


def test_a_delivery_that_is_put_back_is_there_when_the_commit_returns(engine: Engine, broker: Broker) -> None:
    first, second = engine.deliver(), engine.deliver()
    assert engine.commit([settle(second), settle(first, "head")]) == ["done", "done"]
    assert broker.settlements == [method(nack(3, 1)), method(ack(3, 2, multiple=True))], (
        "put back before the frame that would acknowledge it"
    )
    assert broker.log[-1] == ("barrier", None)


HEADERS = {
    "trace": "x",
    "x-death": [{"count": 1}],
    "x-first-death-exchange": "",
    "x-first-death-queue": "q",
    "x-first-death-reason": "expired",
}


def test_a_delivery_goes_to_the_tail_as_it_came_and_then_is_acknowledged(
    engine: Engine, broker: Broker
) -> None:
    held = engine.deliver(b"bytes", headers=HEADERS, properties={"priority": 3, "content_type": "text/plain"})
    assert engine.commit([settle(held, "tail")]) == ["done"]
    assert broker.published == [
        OutgoingMessage("", "jobs", b"bytes", {"trace": "x"}, 3, content_type="text/plain")
    ], "without RabbitMQ's own headers, by which it would see it go in circles"
    assert [kind for kind, _ in broker.log if kind in ("publish", "frames")] == ["publish", "frames"]
    assert broker.settlements == [method(ack(3, 1, multiple=True))]


def test_a_possible_duplicate_counts_its_turns_at_the_tail(engine: Engine, broker: Broker) -> None:
    held = engine.deliver(headers={"x-gearmesh-again": 2}, duplicate_attempt=2)
    engine.commit([settle(held, "tail")])
    assert broker.published[0].headers == {"x-gearmesh-again": 3}


def test_a_message_that_was_lost_with_its_consumer_says_so_at_the_tail(
    engine: Engine, broker: Broker
) -> None:
    """The copy looks new to RabbitMQ."""
    held = engine.deliver()
    held.recorded = True
    engine.commit([settle(held, "tail")])
    assert broker.published[0].headers == {"x-gearmesh-lost": True}
    assert broker.of("clear") == [], "the task has not run to its end"


@pytest.mark.parametrize(
    ("how", "cleared"), [("ack", True), ("dead", True), ("later", True), ("head", False), ("tail", False)]
)
def test_the_records_of_a_lost_message_go_when_it_is_done(
    engine: Engine, broker: Broker, how: str, cleared: bool
) -> None:
    held, other = engine.deliver(), engine.deliver()
    held.recorded = True
    engine.commit([settle(held, how), settle(other, how)])
    assert broker.of("clear") == ([held.delivery.id] if cleared else [])


def test_a_delivery_that_is_to_come_later_waits_in_a_queue_that_leads_back(
    engine: Engine, broker: Broker
) -> None:
    held = engine.deliver(b"bytes", headers=HEADERS)
    assert engine.commit([settle(held, "later", at_ns=NOW + 2 * SECOND)]) == ["done"]
    place = engine.topology.parked("jobs", 2)
    assert broker.published == [OutgoingMessage("", place.name, b"bytes", {"trace": "x"}, queue=place)]
    assert place.name in broker.declared


def test_a_delivery_whose_time_has_come_goes_straight_to_the_tail(engine: Engine, broker: Broker) -> None:
    engine.commit([settle(engine.deliver(), "later", at_ns=NOW)])
    assert broker.published == [OutgoingMessage("", "jobs", b"body", {})]


def test_a_wait_beyond_rabbitmq_s_limit_is_cut_below_it(engine: Engine, broker: Broker) -> None:
    engine.commit([settle(engine.deliver(), "later", at_ns=NOW + 10**9 * SECOND)])
    (item,) = broker.published
    assert item.queue is not None
    assert item.queue.arguments["x-message-ttl"] < 10 * 365 * 86_400 * 1000


def test_a_dead_letter_says_why_and_when(engine: Engine, broker: Broker) -> None:
    held = engine.deliver(b"bytes", headers=HEADERS, properties={"priority": 3})
    assert engine.commit([settle(held, "dead", reason="it is broken")]) == ["done"]
    assert broker.published == [
        OutgoingMessage(
            "",
            "gearmesh:dead:jobs",
            b"bytes",
            {"trace": "x", "x-gearmesh-reason": "it is broken", "x-gearmesh-died": NOW_MS},
            3,
            queue=engine.topology.dead("jobs"),
        )
    ]
    assert broker.declared == ["gearmesh:dead:jobs"]
    assert broker.settlements == [method(ack(3, 1, multiple=True))]


# -- messages for tasks that no worker here knows


def park(engine: Engine, header: str | None, *, max_age: float = 3600) -> str:
    """Park a message that came with this header; return the outcome."""
    held = engine.deliver(headers=None if header is None else {"x-gearmesh-aside": header, "trace": "x"})
    (outcome,) = engine.commit([settle(held, "park", reason="odd", max_age=max_age)])
    return outcome


def test_the_first_meeting_puts_it_at_the_tail_at_once(engine: Engine, broker: Broker) -> None:
    """Another worker may have registered its task."""
    assert park(engine, None) == "done"
    assert broker.published == [OutgoingMessage("", "jobs", b"body", {"x-gearmesh-aside": f"{NOW_MS} 0"})]


@pytest.mark.parametrize(
    ("rounds", "seconds"),
    [(0, 0.05), (1, 0.05), (16, 0.05), (17, 0.1), (21, 1.6), (25, 25.6), (26, 30.0), (4000, 30.0)],
)
def test_after_sixteen_short_waits_each_doubles_up_to_half_a_minute(
    engine: Engine, broker: Broker, rounds: int, seconds: float
) -> None:
    assert park(engine, f"{NOW_MS - 1000} {rounds}") == "done"
    place = engine.topology.parked("jobs", seconds)
    headers = {"x-gearmesh-aside": f"{NOW_MS - 1000} {rounds + 1}", "trace": "x"}
    assert broker.published == [OutgoingMessage("", place.name, b"body", headers, queue=place)]


def test_after_its_longest_age_it_is_a_dead_letter(engine: Engine, broker: Broker) -> None:
    assert park(engine, f"{NOW_MS - 59_999} 3", max_age=60) == "done"
    assert park(engine, f"{NOW_MS - 60_000} 3", max_age=60) == "expired"
    assert broker.published[-1] == OutgoingMessage(
        "",
        "gearmesh:dead:jobs",
        b"body",
        {
            "trace": "x",
            "x-gearmesh-reason": "no worker has registered the task odd",
            "x-gearmesh-died": NOW_MS,
        },
        queue=engine.topology.dead("jobs"),
    )


def test_it_is_met_twice_before_it_is_a_dead_letter(engine: Engine, broker: Broker) -> None:
    assert park(engine, None, max_age=0) == "done"
    assert park(engine, f"{NOW_MS} 0", max_age=0) == "expired"


@pytest.mark.parametrize(
    "header",
    ["", "x", "12", "12 ", "12 x", "-12 3", "12 3 4", "² 1", "1 ²", "9" * 5000 + " 1"],
    ids=[
        "empty",
        "text",
        "one",
        "space",
        "half",
        "negative",
        "three",
        "no digit",
        "no digit, either",
        "too long",
    ],
)
def test_a_header_that_says_nothing_counts_as_a_first_meeting(
    engine: Engine, broker: Broker, header: str
) -> None:
    assert park(engine, header) == "done"
    assert broker.published[0].headers == {"x-gearmesh-aside": f"{NOW_MS} 0", "trace": "x"}
    assert broker.published[0].routing_key == "jobs"


# -- deliveries that are held or lost


def test_a_delivery_that_is_not_held_settles_and_sends_nothing(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    commit = Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery))
    other = Commit(publishes=(Publish("mail", b"2"),))
    engine.unacked.forget(held.delivery.id)
    assert engine.is_lost(cast(Settle, commit.settle))
    assert engine.commit([commit, other]) == ["lost", "done"]
    assert [item.body for item in broker.published] == [b"2"], "the others of the same call happen"
    assert broker.of("frames") == []


def test_a_delivery_is_settled_once_in_a_call(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    assert not engine.is_lost(Settle(held.delivery))
    assert engine.commit([settle(held), settle(held), settle(held, "keep")]) == ["done", "lost", "lost"]
    assert len(broker.settlements) == 1


@pytest.mark.parametrize("how", ["ack", "tail", "head", "dead"])
def test_a_delivery_whose_channel_was_closed_comes_again_and_settles_nothing(
    engine: Engine, broker: Broker, how: str
) -> None:
    held = engine.deliver()
    engine.tags.open = False
    assert engine.commit([settle(held, how)]) == ["lost"]
    assert (broker.of("publish"), broker.of("frames")) == ([], [])
    assert engine.unacked.held == {}, "the redelivery is another delivery"


@pytest.mark.parametrize("closed", [True, False], ids=["closed a moment ago", "lost with its connection"])
def test_a_running_delivery_without_a_channel_stays_held_to_be_reclaimed(
    engine: Engine, broker: Broker, closed: bool
) -> None:
    held = engine.deliver()
    if closed:
        engine.tags.open = False
    else:
        engine.unacked.mark_orphaned(held)
    assert engine.commit([settle(held, "keep")]) == ["lost"]
    assert engine.unacked.held == {held.delivery.id: held}


def test_a_connection_that_breaks_before_the_acknowledgement_loses_the_delivery(
    engine: Engine, broker: Broker
) -> None:
    held = engine.deliver()
    broker.breaks = RecoverableConnectionError("gone")
    commit = Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery))
    assert engine.commit([commit]) == ["lost"]
    assert len(broker.published) == 1, "RabbitMQ had taken it by then"
    assert engine.unacked.held == {}


def test_a_delivery_of_another_consumer_of_this_process_is_settled_through_its_channel(
    engine: Engine, broker: Broker
) -> None:
    unacked = UNACKED_BY_CONSUMER.get("another consumer of this test")
    held = engine.deliver(unacked=unacked)
    assert engine.commit([settle(held)]) == ["done"]
    assert (unacked.held, len(broker.settlements)) == ({}, 1)


def test_a_repeated_commit_finds_its_delivery_gone_whatever_its_token(engine: Engine, broker: Broker) -> None:
    held = engine.deliver()
    commit = Commit(publishes=(Publish("mail", b"1"),), settle=Settle(held.delivery))
    token = Token("me", 1)
    assert engine.commit([commit], token=token) == ["done"]
    assert engine.commit([commit], token=token) == ["lost"]
    assert [item.body for item in broker.published] == [b"1"]
    assert len(broker.settlements) == 1


def test_kombus_own_ack_and_reject_settle_held_deliveries(engine: Engine, broker: Broker) -> None:
    first, second = engine.deliver(), engine.deliver()
    engine.settle_one(first.delivery.id, "ack")
    engine.settle_one(second.delivery.id, "head")
    engine.settle_one(second.delivery.id, "ack")
    assert broker.settlements == [method(ack(3, 1, multiple=True)), method(nack(3, 2))]


def test_deliveries_that_were_not_begun_are_put_back_without_a_commit(engine: Engine, broker: Broker) -> None:
    helds = [engine.deliver() for _ in range(3)]
    assert engine.put_back(helds[1:]) == 2
    assert broker.settlements == [method(nack(3, 2)), method(nack(3, 3))]
    assert engine.unacked.held == {helds[0].delivery.id: helds[0]}


kinds = st.sampled_from(["ack", "keep", "head", "tail", "park", "later", "dead"])


@given(st.lists(kinds, max_size=12), st.randoms(use_true_random=False))
def test_each_delivery_is_settled_as_it_should_be_and_no_message_is_ever_nowhere(
    hows: list[str], random: Any
) -> None:
    """This holds in any order of the commits, and with any settlement of the other deliveries."""
    broker = Broker()
    engine = Engine(broker)
    helds = [engine.deliver(b"%d" % number) for number in range(len(hows))]
    pairs = list(zip(helds, hows, strict=True))
    random.shuffle(pairs)
    assert engine.commit([settle(held, how) for held, how in pairs]) == ["done"] * len(pairs)
    copied = [held.body for held, how in pairs if how in ("tail", "park", "later", "dead")]
    assert [item.body for item in broker.published] == copied, "in the order of the commits"
    kept = [held.tag for held, how in pairs if how == "keep"]
    put_back = [held.tag for held, how in pairs if how == "head"]
    unsettled = {held.tag for held in helds}
    for payload in broker.settlements:
        tag, multiple = int.from_bytes(payload[4:12], "big"), payload[12] & 1
        meant = {each for each in unsettled if each <= tag} if multiple else {tag}
        if payload[:4] == b"\0\x3c\0\x78":
            assert meant <= set(put_back)
        else:
            assert not meant & {*put_back, *kept}
        unsettled -= meant
    assert unsettled == set(kept)
    assert set(engine.unacked.held.values()) == {held for held in helds if held.tag in kept}
