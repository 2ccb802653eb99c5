"""A deployment with something on every page, without a running worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from gearmesh import App
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.interfaces.listing import SupportsHistory
from gearmesh.results.failures import FailureDetails, record_of
from gearmesh.testing.contracts.support import Tap
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, STARTED, SUCCESS, GroupMeta, TaskResult, TaskState
from gearmesh.wire.types import arg

__all__ = ["Seeded", "bury", "seed", "some_letters", "uuid_of", "working"]

SECOND_NS = 10**9
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/tasks.py", line 42, in reserve
    stock = shelf.take(item, count)
  File "/srv/shop/shelf.py", line 17, in take
    raise OutOfStock(f"no stock for item {item}")
shop.errors.OutOfStock: no stock for item 1701
"""


def uuid_of(number: int, prefix: str = "task_") -> str:
    """A UUID that each run has in the same place."""
    return f"{prefix}{UUID(int=(number << 64) + 0x4000_8000_0000_0000_0000 + number)}"


class Seeded(NamedTuple):
    """The UUIDs of some tasks of each kind."""

    waiting: str
    failed: str
    succeeded: str
    group: str
    member: str
    workflow: str
    delayed: str


def seed(app: App, *, waiting: int = 120) -> Seeded:
    """Fill an app's broker and backend: queues, states, dead letters, delayed messages, a chain and a chord."""
    now = time.time_ns()
    backend = app.backend
    items = [
        Signature(
            UUID=uuid_of(number),
            Name="reserve" if number % 3 else "login",
            RoutingKey="shop",
            Args=(arg("string", f"user-{number}"), arg("string", '{"password": "hunter2", "item": 5}')),
            Headers=None,
            RetryCount=3,
        )
        for number in range(1, waiting + 1)
    ]
    callback = Signature(UUID=uuid_of(905, "chord_"), Name="report", RoutingKey="shop")
    group = uuid_of(900, "group_")
    members = [uuid_of(910 + number) for number in range(12)]
    chain = Signature(
        UUID=uuid_of(930),
        Name="photo.resize",
        RoutingKey="photos",
        Args=(arg("string", "cat.jpg"), arg("int64", 640)),
        OnSuccess=(
            Signature(
                UUID=uuid_of(931),
                Name="photo.sharpen",
                OnSuccess=(Signature(UUID=uuid_of(932), Name="photo.upload"),),
                OnError=(Signature(UUID=uuid_of(934), Name="photo.discard"),),
            ),
        ),
        OnError=(Signature(UUID=uuid_of(933), Name="notify.admin"),),
    )
    member = Signature(
        UUID=members[-1],
        Name="count",
        RoutingKey="shop",
        GroupUUID=group,
        GroupTaskCount=len(members),
        ChordCallback=callback,
        Args=(arg("[]int64", [1, 2, 3]),),
    )
    later = [
        (
            Signature(UUID=uuid_of(950 + number), Name="remind", RoutingKey="mail"),
            now + (60 + 600 * number) * SECOND_NS,
        )
        for number in range(7)
    ]
    with connect(app.config) as connection:
        channel = connection.channel()
        bodies = [(sig.RoutingKey, encode(sig), 0) for sig in [*items, member, chain]]
        bodies += [(sig.RoutingKey, encode(sig), eta) for sig, eta in later]
        channel.commit([Commit(publishes=(Publish(queue, body, eta_ns=eta),)) for queue, body, eta in bodies])
        if isinstance(channel, SupportsHistory):
            remember(channel, now)
    states: list[TaskState] = []
    for number, sig in enumerate([*items, member, chain], 1):
        states.append(pending(sig, now - (400 - number) * SECOND_NS))
    for number in range(30):
        uuid = uuid_of(1000 + number)
        first = TaskState(
            TaskUUID=uuid,
            TaskName="reserve",
            State=PENDING,
            CreatedAt=format_ns(now - (9 + number) * 60 * SECOND_NS),
        )
        error = f"no stock for item {1701 + number}" if number % 4 else "timed out, token=abc123"
        last = TaskState(TaskUUID=uuid, State=FAILURE, Error=error)
        states += [first, last]
        if number % 5:  # those of a Go worker have no record
            args = (arg("string", f"user-{number}"), arg("int64", 1701 + number))
            sig = Signature(UUID=uuid, Name="reserve", RoutingKey="shop", Args=args)
            details = FailureDetails("shop.errors.OutOfStock", TRACEBACK, message=encode(sig).decode())
            states.append(record_of(uuid, error, details))
    for number in range(60):
        uuid = uuid_of(1100 + number)
        result = (TaskResult("int64", arg("int64", number).Value),)
        states.append(
            TaskState(
                TaskUUID=uuid, TaskName="add", State=PENDING, CreatedAt=format_ns(now - 3600 * SECOND_NS)
            )
        )
        states.append(TaskState(TaskUUID=uuid, State=SUCCESS, Results=result))
    for number, uuid in enumerate(members[:-1]):
        states.append(
            TaskState(
                TaskUUID=uuid, TaskName="count", State=PENDING, CreatedAt=format_ns(now - 300 * SECOND_NS)
            )
        )
        outcome = FAILURE if number == 2 else STARTED if number > 8 else SUCCESS
        states.append(
            TaskState(
                TaskUUID=uuid,
                State=outcome,
                Error="no such file" if outcome == FAILURE else "",
            )
        )
    backend.write(states)
    backend.create_group(
        GroupMeta(GroupUUID=group, TaskUUIDs=tuple(members), CreatedAt=format_ns(now - 300 * SECOND_NS))
    )
    return Seeded(
        items[4].UUID, uuid_of(1001), uuid_of(1100), group, members[-1], chain.UUID, later[0][0].UUID
    )


def remember(channel: SupportsHistory, now: int) -> None:
    """Write an hour of counts as workers do: one queue is busy and has a bad quarter, the other is quiet."""
    minute = now // SECOND_NS // 60
    for ago in range(1, 60):
        ended = 900 + 37 * (ago * 7 % 23)
        failed = 160 if 12 < ago < 27 else ago % 3
        counts = {"succeeded": ended - failed, "failed": failed, "retried": failed // 2, "run_ms": 12 * ended}
        channel.add_history("shop", minute - ago, counts)
        if ago % 9 == 0:
            channel.add_history("photos", minute - ago, {"succeeded": 4, "run_ms": 9000})


def pending(sig: Signature, at_ns: int) -> TaskState:
    return TaskState(TaskUUID=sig.UUID, TaskName=sig.Name, State=PENDING, CreatedAt=format_ns(at_ns))


def bury(app: App, letters: Sequence[tuple[Signature, str]]) -> None:
    """Dead-letter messages, each with its reason, as a worker does: it takes each from its queue and settles it so."""
    for queue in dict.fromkeys(sig.RoutingKey for sig, _ in letters):
        own = [(encode(sig), reason) for sig, reason in letters if sig.RoutingKey == queue]
        with connect(app.config) as connection:
            tap = Tap(connection, (), 0)
            tap.verbs.commit([Commit(publishes=(Publish(queue, body),)) for body, _ in own])
            taker = Tap(connection, (queue,), len(own))
            reasons = dict(own)
            for message in taker.take(len(own)):
                taker.settle(message, how="dead", reason=reasons[message.body])
            taker.stop()


def some_letters(count: int, start: int = 2000, queue: str = "shop") -> list[tuple[Signature, str]]:
    """Dead letters with two reasons, every third one with the second."""
    reasons = ("out of stock", "out of stock", "timed out after 30 s")
    return [
        (
            Signature(UUID=uuid_of(start + at), Name="reserve", RoutingKey=queue, Args=(arg("int64", at),)),
            reasons[at % 3],
        )
        for at in range(count)
    ]


@contextmanager
def working(app: App, queue: str, name: str, holds: int) -> Iterator[None]:
    """A worker that holds some messages of a queue while the block runs."""
    with connect(app.config, consumer=name) as connection:
        tap = Tap(connection, (queue,), holds)
        messages = tap.take(holds)
        states = [TaskState(TaskUUID=decode(message.body).UUID, State=STARTED) for message in messages]
        app.backend.write(states)
        yield
