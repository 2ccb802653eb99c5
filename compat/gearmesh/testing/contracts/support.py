"""The fixtures of the transport contract, and the consumer through which its tests receive messages."""

from __future__ import annotations

import json
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import kombu
import pytest
from kombu.message import Message

from gearmesh.errors import GearmeshError
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Outcome, Publish, Settle, Token
from gearmesh.interfaces.transport import (
    Channel,
    ParkedMessage,
    SupportsInspection,
    SupportsParkedListing,
)
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S

__all__ = ["Connect", "Hold", "OpenTap", "Tap", "TransportFixtures", "signature"]

T = TypeVar("T")


def signature(queue: str, number: int = 0) -> bytes:
    """Make a signature that gearmesh's encoder would write differently, so that a test notices a new encoding."""
    fields = {
        "UUID": f"task_{number}",
        "Name": "add",
        "RoutingKey": queue,
        "Unknown": [1.50, {"b": 1, "a": "<é>"}],
    }
    return json.dumps(fields, ensure_ascii=False, separators=(" , ", " : ")).encode()


class Connect(Protocol):
    """Makes a kombu connection to the tested broker; all calls in one test connect to the same broker."""

    def __call__(self, consumer: str | None = None, **options: Any) -> kombu.Connection: ...


class AnyOrder(list[bytes]):
    """A list of bodies that equals any list with the same bodies, in whatever order."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self) == sorted(other)

    def __ne__(self, other: object) -> bool:
        return not self == other


class Tap:
    """A connection, its channel, and one consumer that collects its messages in :attr:`got`.

    Args:
        connection: a connection to the tested broker.
        queues: the names of the queues to consume.
        prefetch: the number of messages that the consumer may hold; 0: any number.
        look: reads the messages that wait in a queue, if the channel cannot (``lists_pending`` is False).
    """

    def __init__(
        self,
        connection: kombu.Connection,
        queues: tuple[str, ...],
        prefetch: int,
        look: Callable[[str], list[bytes]] | None = None,
    ) -> None:
        self.connection = connection
        self._look = look
        self.channel: Any = connection.channel()
        self.verbs: Channel = self.channel
        self.got: deque[Message] = deque()
        if queues:
            self._consumer = kombu.Consumer(
                self.channel,
                [kombu.Queue(queue) for queue in queues],
                on_message=self.got.append,
                prefetch_count=prefetch,
            )
            self.start()

    def start(self) -> None:
        """Consume again, as after the construction."""
        self._consumer.consume()

    def stop(self) -> None:
        """Stop consuming. Messages that the broker has pushed but no callback got return to the queue."""
        self._consumer.cancel()

    @property
    def name(self) -> str:
        """The name under which the channel takes messages."""
        return self.verbs.consumer

    @property
    def inspector(self) -> SupportsInspection:
        """The channel; the test is skipped if it does not inspect."""
        if not isinstance(self.channel, SupportsInspection):
            pytest.skip("the channel does not inspect")
        return self.channel

    def parked(self, queue: str, limit: int = 10) -> list[ParkedMessage]:
        """List parked messages; the test is skipped if the channel does not list them."""
        if not isinstance(self.channel, SupportsParkedListing):
            pytest.skip("the channel does not list parked messages")
        return self.channel.parked(queue, limit)

    def drain(self, timeout: float = 0.05) -> None:
        """Receive messages, waiting up to ``timeout`` seconds for the first."""
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=timeout)

    def take(self, count: int, timeout: float = AWAIT_TIMEOUT_S) -> list[Message]:
        """Return the next ``count`` messages; fail if they do not come within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while len(self.got) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self.got)} of {count} messages came within {timeout:g} s"
            self.drain(left)
        return [self.got.popleft() for _ in range(count)]

    def bodies(self, count: int) -> list[bytes]:
        """Return the bodies of the next ``count`` messages."""
        return self.in_order(bytes(message.body) for message in self.take(count))

    def quiet(self, seconds: float = 0.15) -> None:
        """Fail if a message comes within these seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.drain(left)
        assert [message.body for message in self.got] == []

    def check_losses(self, messages: Sequence[Message], *counts: int) -> None:
        """Check the number of consumers that lost each message; some brokers show only that a message was lost."""
        found = [message.delivery.redelivered for message in messages]
        if self.verbs.counts_losses:
            assert found == list(counts)
        assert all(lost for lost, count in zip(found, counts, strict=True) if count)

    def publish(
        self, queue: str, *bodies: bytes, eta_ns: int = 0, token: Token | None = None
    ) -> list[Outcome]:
        """Publish the bodies in one call, each with its own Commit."""
        commits = [Commit(publishes=(Publish(queue, body, eta_ns),)) for body in bodies]
        return self.verbs.commit(commits, token=token)

    def in_order(self, bodies: Iterable[bytes]) -> list[bytes]:
        """List bodies; if the channel does not keep the order, the list equals one in any order."""
        return list(bodies) if self.verbs.keeps_order else AnyOrder(bodies)

    def waiting(self, queue: str, limit: int = 1000) -> list[bytes]:
        """Read the first ``limit`` waiting messages of a queue, by ``look`` if the channel cannot list them."""
        if self.verbs.lists_pending:
            return self.in_order(self.verbs.pending(queue, limit))
        if self._look is None:
            pytest.fail("provide the fixture 'look'")
        with pytest.raises(GearmeshError):
            self.verbs.pending(queue, limit)
        return self.in_order(self._look(queue)[:limit])

    def published(self, queue: str) -> list[bytes]:
        """Read the waiting messages, without the copies of a repeated publish if the broker cannot avoid them."""
        waiting = self.waiting(queue)
        return waiting if self.verbs.publishes_once else self.in_order(dict.fromkeys(waiting))

    def settle(self, *messages: Message, how: Any = "ack", **more: Any) -> list[Outcome]:
        """Settle messages in one call, each with its own Commit."""
        return self.verbs.commit([Commit(settle=Settle(m.delivery, how, **more)) for m in messages])

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self.connection.release()


class OpenTap(Protocol):
    """Opens a :class:`Tap`; it is closed when the test ends."""

    def __call__(
        self, *queues: str, prefetch: int = 0, consumer: str | None = None, **options: Any
    ) -> Tap: ...


class Hold(Protocol):
    """Publishes bodies, if any, to the test's queue, and opens a :class:`Tap` that holds the first ``prefetch``."""

    def __call__(self, *bodies: bytes, prefetch: int = 1, **options: Any) -> tuple[Tap, list[Message]]: ...


class TransportFixtures:
    """Gives the fixtures of the transport contract. A subclass provides :meth:`connect`, and :meth:`enlistable` if the
    transport enlists a backend."""

    #: The size of large bodies; set a smaller one if the broker has a limit.
    large_body_bytes = 2 << 20
    #: Number of shortest pauses of a message of an unknown task, before its pauses double.
    short_parks = 0

    @pytest.fixture
    def connect(self) -> Connect:
        """Return a :class:`Connect` for a broker without messages."""
        pytest.fail("provide the fixture 'connect'")

    @pytest.fixture
    def enlistable(self, request: pytest.FixtureRequest) -> Backend | None:
        """Return a backend without states that the transport enlists; None: it enlists no backend."""
        try:
            backend: Backend | None = request.getfixturevalue("fusable")
        except pytest.FixtureLookupError:
            return None
        warnings.warn("the fixture 'fusable' is called 'enlistable' now", DeprecationWarning, stacklevel=1)
        return backend

    @pytest.fixture
    def queue(self) -> str:
        """Return the name of a queue that was never used."""
        return f"contract_{uuid4().hex}"

    @pytest.fixture
    def look(self) -> Callable[[str], list[bytes]] | None:
        """Return a function that reads the waiting messages of a queue; needed if ``lists_pending`` is False."""
        return None

    @pytest.fixture
    def tap(self, connect: Connect, look: Callable[[str], list[bytes]] | None) -> Iterator[OpenTap]:
        """Return an :class:`OpenTap`."""
        taps: list[Tap] = []

        def open_tap(*queues: str, prefetch: int = 0, consumer: str | None = None, **options: Any) -> Tap:
            taps.append(Tap(connect(consumer, **options), queues, prefetch, look))
            return taps[-1]

        yield open_tap
        for each in taps:
            each.close()

    @pytest.fixture
    def hold(self, tap: OpenTap, queue: str) -> Hold:
        """Return a :class:`Hold`."""

        def hold(*bodies: bytes, prefetch: int = 1, **options: Any) -> tuple[Tap, list[Message]]:
            if bodies:
                tap().publish(queue, *bodies)
            here = tap(queue, prefetch=prefetch, **options)
            return here, here.take(prefetch)

        return hold
