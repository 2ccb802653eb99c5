"""The producer writes down how much of a batch RabbitMQ has, and its next connection reads that."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.config import AMQPConfig
from gearmesh.interfaces.commit import Token
from gearmesh.transports.amqp.frames import OutgoingMessage, QueueDeclaration
from gearmesh.transports.amqp.publish_checkpoints import PublishCheckpoints
from gearmesh.transports.amqp.topology import Topology


class Broker:
    """Stands in for RabbitMQ: queues of one message, the newest, and a channel that declares and asks."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes | str] = {}
        self.declared: list[QueueDeclaration] = []
        self.asked = 0
        self.put_back: list[tuple[int, bool]] = []
        self.channel = self

    def ensure(self, queue: QueueDeclaration) -> None:
        self.declared.append(queue)

    def basic_get(self, queue: str) -> Any:
        assert queue in [each.name for each in self.declared], "RabbitMQ closes the channel otherwise"
        self.asked += 1
        return _Message(self.messages[queue], self.asked) if queue in self.messages else None

    def basic_reject(self, tag: int, requeue: bool) -> None:
        self.put_back.append((tag, requeue))

    def take(self, item: OutgoingMessage) -> None:
        assert item.exchange == ""
        self.messages[item.routing_key] = item.body


class _Message:
    def __init__(self, body: bytes | str, tag: int) -> None:
        self.body, self.delivery_tag = body, tag


@pytest.fixture
def broker() -> Broker:
    return Broker()


def connect(broker: Broker) -> PublishCheckpoints:
    return PublishCheckpoints(Topology(AMQPConfig(), "machinery_tasks"), cast(Any, broker))


def test_of_a_new_producer_nothing_was_sent(broker: Broker) -> None:
    checkpoints = connect(broker)
    assert checkpoints.before(Token("me", 1)) == (0, False)
    assert not checkpoints.knows(Token("me", 1))


def test_a_checkpoint_is_a_small_transient_message_in_the_producers_queue(broker: Broker) -> None:
    """It must not outlive, in a RabbitMQ that dies, the messages that it speaks of."""
    assert connect(broker).at(Token("me", 7), 32) == OutgoingMessage(
        "", "gearmesh:sent:me", b"7 32", content_type="text/plain", transient=True, mandatory=False
    )


@given(st.integers(1, 1 << 60), st.integers(0, 1 << 40), st.integers(1, 1 << 60))
def test_the_next_connection_goes_on_where_the_checkpoint_says(seq: int, count: int, asked: int) -> None:
    broker = Broker()
    broker.take(connect(broker).at(Token("me", seq), count))
    checkpoints = connect(broker)
    done, again = checkpoints.before(Token("me", asked))
    assert again is checkpoints.knows(Token("me", asked)) is (asked <= seq)
    if asked == seq:
        assert done == count, "the first messages of this batch are there"
    elif asked > seq:
        assert done == 0, "this batch is new"
    else:
        assert done >= 1 << 60, "a later batch was begun, so all of this one is there"
    assert broker.put_back == [(1, True)], "the checkpoint stays where it is"


def test_a_confirmed_batch_is_known_without_a_question(broker: Broker) -> None:
    checkpoints = connect(broker)
    checkpoints.confirmed(Token("me", 3), 12)
    assert checkpoints.before(Token("me", 3)) == (12, True)
    assert checkpoints.before(Token("me", 4)) == (0, False)
    assert checkpoints.before(Token("other", 3)) == (0, False), "producers are apart"
    assert broker.asked == 1, "for the other one"


def test_rabbitmq_is_asked_once_and_the_queue_declared_before_each_batch(broker: Broker) -> None:
    """The queue expires when it is not declared for ten minutes."""
    checkpoints = connect(broker)
    for seq in (1, 2, 3):
        checkpoints.before(Token("me", seq))
    assert broker.asked == 1
    assert [queue.name for queue in broker.declared] == ["gearmesh:sent:me"] * 3


@pytest.mark.parametrize("body", [b"", "", b"7", b"7 ", b" 7", b"7 x", b"-1 2", b"hello"], ids=repr)
def test_a_message_that_is_no_checkpoint_says_nothing(broker: Broker, body: bytes | str) -> None:
    broker.messages["gearmesh:sent:me"] = body
    checkpoints = connect(broker)
    assert checkpoints.before(Token("me", 7)) == (0, False)
    assert broker.put_back == [(1, True)]
