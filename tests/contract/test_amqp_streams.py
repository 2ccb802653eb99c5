"""Several unconfirmed batches on their way to RabbitMQ at once, and failures of one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from tests.contract.arrived import found

from gearmesh import App, PublishError
from gearmesh.app.publisher import MAX_BATCH_MESSAGES
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.urls import AMQPTarget, parse
from gearmesh.wire.state import TaskState

#: Some batches, and a part of one.
MANY = 4 * MAX_BATCH_MESSAGES + 10


class Stream:
    """An app with results in Redis, where something may happen before a batch's states are written."""

    def __init__(self, url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.app = App(broker=url, backend=redis_url, **settings)
        self.task = self.app.remote("add", "int64")
        self.task.delay(-1)  # so that the connection is there
        self.written: list[int] = []
        self.before: dict[int, Callable[[], None]] = {}
        write = self.app.backend.write

        def look(states: Sequence[TaskState]) -> None:
            self.before.pop(len(self.written), lambda: None)()
            write(states)
            self.written.append(len(states))

        monkeypatch.setattr(self.app.backend, "write", look)

    def send(self) -> None:
        self.app.publish_many([self.task.s(n) for n in range(MANY)])


OpenStream = Callable[..., Stream]


@pytest.fixture
def stream(amqp_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenStream]:
    """Make one, to the broker itself or to another URL."""
    with ExitStack() as stack:

        def make(url: str = amqp_url, **settings: Any) -> Stream:
            made = Stream(url, redis_url, monkeypatch, **settings)
            stack.enter_context(made.app)
            return made

        yield make


def test_in_order_and_with_their_states(amqp_url: str, stream: OpenStream) -> None:
    it = stream()
    it.send()
    assert found(amqp_url) == [(n, False) for n in range(-1, MANY)]
    assert it.written == [MAX_BATCH_MESSAGES] * 4 + [10]


def test_the_next_batch_does_not_wait_for_confirms(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any]
) -> None:
    it = stream(*through(amqp_url, make_proxy))
    unconfirmed: list[int] = []
    with it.app._publisher._pool.acquire() as connection:
        publisher = connection.flusher()._channel.link.publisher
    for batch in range(1, 5):
        it.before[batch] = lambda: unconfirmed.append(len(publisher._open))
    it.send()
    assert min(unconfirmed) > 0


def test_a_connection_that_breaks_between_two_batches(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any]
) -> None:
    """Nothing is lost, states are written once, and possible duplicates are marked."""
    url, proxy = through(amqp_url, make_proxy, own=True)
    it = stream(url)
    it.before[2] = proxy.cut
    it.send()
    assert it.written == [MAX_BATCH_MESSAGES] * 4 + [10]
    eventually(lambda: {n for n, _ in found(amqp_url)} == set(range(-1, MANY)))
    seen = found(amqp_url)
    clean = Counter(n for n, again in seen if not again)
    assert max(clean.values()) == 1
    assert not any(again for n, again in seen if n >= 3 * MAX_BATCH_MESSAGES), (
        "the fourth batch had not begun"
    )


@pytest.mark.parametrize("queue", ["first", "second"])
def test_a_connection_that_breaks_as_a_queue_is_declared(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any], queue: str
) -> None:
    """The batch was not sent yet, so the next try has to send all of it."""
    url, proxy = through(amqp_url, make_proxy, own=True)
    it = stream(url)
    proxy.lose_replies(match=queue.encode())
    batch = [it.task.s(n).set(queue=name) for name in ("first", "second") for n in range(3)]
    it.app.publish_many(batch)
    assert proxy.lost == 1
    for name in ("first", "second"):
        assert {n for n, _ in found(amqp_url, name)} == {0, 1, 2}


def test_a_connection_that_breaks_again_before_all_batches_were_repeated(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any]
) -> None:
    """The first repetition ends as the queue is declared: none of the batches that were begun may be forgotten."""
    url, proxy = through(amqp_url, make_proxy, own=True)
    it = stream(url)

    def cut() -> None:
        proxy.lose_replies(match=b"machinery_tasks")
        proxy.cut()

    it.before[3] = cut
    it.send()
    assert proxy.lost == 1
    eventually(lambda: {n for n, _ in found(amqp_url)} == set(range(-1, MANY)))


def test_the_publisher_does_not_resend_messages_that_rabbitmq_confirmed(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any]
) -> None:
    url, proxy = through(amqp_url, make_proxy, own=True)
    it = stream(url)
    with it.app._publisher._pool.acquire() as connection:
        link = connection.flusher()._channel.link

    def cut() -> None:
        def confirmed() -> bool:
            link.pump()
            return not link.publisher._open

        eventually(confirmed)
        proxy.cut()

    it.before[2] = cut
    it.send()
    half = 2 * MAX_BATCH_MESSAGES
    seen = found(amqp_url)
    assert seen[: half + 1] == [(n, False) for n in range(-1, half)]
    assert {n for n, _ in seen[half + 1 :]} == set(range(half, MANY))


def test_a_backend_that_is_away_for_one_batch(amqp_url: str, stream: OpenStream) -> None:
    it = stream()
    it.before[2] = away
    it.send()
    assert found(amqp_url) == [(n, False) for n in range(-1, MANY)]
    assert it.written == [MAX_BATCH_MESSAGES] * 4 + [10]


def test_a_backend_that_stays_away(amqp_url: str, stream: OpenStream) -> None:
    it = stream(publish_timeout=0.0)
    it.before[2] = away
    with pytest.raises(
        PublishError, match=rf"{MANY} messages \({2 * MAX_BATCH_MESSAGES} confirmed\), .* among them"
    ):
        it.send()
    assert found(amqp_url) == [(n, False) for n in range(-1, 2 * MAX_BATCH_MESSAGES)]


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_something_deleted_between_two_batches(amqp_url: str, stream: OpenStream, what: str) -> None:
    it = stream()

    def delete() -> None:
        with open_connection(amqp_url) as connection:
            channel = connection.channel()
            if what == "queue":
                channel.queue_delete("machinery_tasks")
            else:
                channel.exchange_delete("machinery_exchange")

    it.before[2] = delete
    it.send()
    wanted = set(range(-1 if what == "exchange" else 2 * MAX_BATCH_MESSAGES, MANY))
    eventually(lambda: wanted <= {n for n, _ in found(amqp_url)})
    seen = found(amqp_url)
    numbers = {n for n, _ in seen}
    assert Counter(n for n, again in seen if not again).most_common(1)[0][1] == 1, (
        "each second copy is marked as a possible duplicate"
    )
    if what == "exchange":
        assert numbers == set(range(-1, MANY)), "the queue keeps its messages"


def test_delayed_messages_that_come_late_outlive_their_queue(
    amqp_url: str, stream: OpenStream, make_proxy: Callable[..., Any]
) -> None:
    """A queue of Go's kind lives twice as long as a message waits in it; this one comes later than that wait."""
    url, proxy = through(amqp_url, make_proxy, own=True)
    it = stream(url)
    proxy.latency = 0.5  # of each answer: to the declaration, and to the binding
    it.app.publish_many([it.task.s(n).set(countdown=0.8) for n in range(3)])
    eventually(lambda: {0, 1, 2} <= {n for n, _ in found(amqp_url)})
    seen = found(amqp_url)
    assert Counter(n for n, again in seen if not again).most_common(1)[0][1] == 1, (
        "each second copy is marked as a possible duplicate"
    )


def test_a_batch_that_dies_with_rabbitmq_is_sent_again(
    make_rabbitmq: Callable[..., Any], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No confirm of it has come, and none of its messages has reached the disk."""
    server = make_rabbitmq()
    url = server.url_of(server.vhost())
    with App(broker=url, backend=redis_url) as app:
        task = app.remote("add", "int64")
        task.delay(-1)
        publisher = app._publisher
        with publisher._pool.acquire() as connection:
            publisher = connection.flusher()._channel.link.publisher

        def die() -> None:
            with open_connection(url) as connection:
                channel = connection.channel()
                eventually(lambda: channel.count("machinery_tasks").pending == 4)
                channel.queue_purge("machinery_tasks")
            server.kill()
            server.start()
            raise ConnectionResetError("before any confirm was read")

        monkeypatch.setattr(publisher, "_await_all", die)
        app.publish_many([task.s(n) for n in range(3)])
    # The purge may not have reached the disk either: then the first copies are there again.
    eventually(lambda: {(n, True) for n in range(3)} <= set(found(url)))


def away() -> None:
    raise ConnectionError("away")


def through(url: str, make_proxy: Callable[..., Any], *, own: bool = False) -> tuple[Any, ...]:
    """The URL through a proxy, and with ``own`` the proxy."""
    target = parse(url, "broker")
    assert isinstance(target, AMQPTarget)
    proxy = make_proxy(target.port, latency=0.0 if own else 0.05)
    changed = url.replace(str(target.port), str(proxy.port))
    return (changed, proxy) if own else (changed,)
