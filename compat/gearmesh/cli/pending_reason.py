"""Finds out why tasks are PENDING, as far as broker and backend show it, for ``result`` and ``send --wait``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.cli.common import Place
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.inspection.broker import channel_to, inspecting, known_queues, queue_of
from gearmesh.inspection.consumers import last_heard, silence_of
from gearmesh.inspection.messages import signature_of
from gearmesh.inspection.times import age
from gearmesh.interfaces.backend import SupportsRevocation
from gearmesh.interfaces.transport import (
    ConsumerReport,
    QueueCounts,
    SupportsConsumerListing,
    SupportsParkedListing,
)
from gearmesh.units import counted
from gearmesh.urls import scheme_of
from gearmesh.wire.state import PENDING, TaskState

__all__ = ["about_consumer", "pending_reasons"]

#: Number of messages of a queue, and of delayed messages, that a search reads.
MAX_SEARCHED: Final = 10_000
#: Stands before the reason of a revoked task, which tells where its message is.
_REVOKED: Final = (
    "it is revoked and will not run: the gearmesh worker that gets its message makes it FAILURE with the error "
    "'revoked'. Until then "
)
#: Stands in place of a reason that was not found.
_UNKNOWN: Final = (
    "no reason is known. Its worker may store results in another place: compare 'results' in the worker's log with "
    "'gearmesh config show'. 'gearmesh doctor' looks for other reasons"
)


def pending_reasons(place: Place, app: App, states: Sequence[TaskState | None]) -> dict[str, str]:
    """Return the reasons of the tasks that are PENDING, by UUID.

    Args:
        place: names the broker, if ``app`` has none.
        app: the app with the result backend.
        states: the states of the tasks; None for a task without one.
    """
    tasks = {state.TaskUUID: state.TaskName for state in states if state and state.State == PENDING}
    if not tasks:
        return {}
    reasons: dict[str, str] = {}
    unknown = _UNKNOWN
    try:
        sender = place.app() if scheme_of(app.config.brokers[0]) == "eager" and not place.spec else app
        if scheme_of(sender.config.brokers[0]) not in ("eager", "memory"):
            with channel_to(sender) as channel:
                reasons = _found(sender, channel, tasks, place.queue)
    except ConfigError:
        unknown = "no broker is named, so no reason is known: give --broker URL or -A MODULE:APP"
    except GearmeshError as exc:  # the broker is unreachable
        unknown = str(exc)
    with app.reached_backend() as backend:
        revoked = backend.revoked() if isinstance(backend, SupportsRevocation) else {}
    return {uuid: (_REVOKED if uuid in revoked else "") + reasons.get(uuid, unknown) for uuid in tasks}


def _found(app: App, channel: Any, tasks: dict[str, str], named: str | None) -> dict[str, str]:
    """Find reasons by UUID, for a dictionary of UUIDs and the names of their tasks; ``named``: a queue to search."""
    if not channel.lists_delayed:
        # Such a broker shows a message only by delivering it, which marks it redelivered. So no queue is searched.
        return {
            uuid: _counted(inspecting(channel).count(named or queue_of(app, name)))
            for uuid, name in tasks.items()
            if named or name in app.tasks
        }
    reasons: dict[str, str] = {}
    now = time.time_ns()
    for entry in channel.delayed(MAX_SEARCHED):
        if (uuid := signature_of(entry.body).UUID) in tasks:
            reasons[uuid] = f"it waits for its ETA, {age(entry.eta_ns, now)}"
    likely = {app.default_queue, *filter(None, [named]), *(queue_of(app, name) for name in tasks.values())}
    for queue in sorted(likely):
        reasons |= _in_queue(app, channel, queue, tasks)
    others = set(known_queues(app, channel)) - likely if tasks.keys() - reasons else ()
    for queue in sorted(others):
        reasons |= _in_queue(app, channel, queue, tasks)
    return reasons


def _counted(count: QueueCounts) -> str:
    """The reason on a broker that only counts a queue's messages, and perhaps its consumers."""
    if count.pending is None:
        return f"the broker counts nothing in its queue {count.queue}: the task waits there, or a worker holds it"
    if count.consumers is None:
        return (
            f"its queue {count.queue} has {counted(count.pending, 'message')} that no worker has received, "
            f"{counted(count.held or 0, 'message')} that workers hold, or that are hidden for a while, and "
            f"{counted(count.delayed or 0, 'delayed message')}: the task is one of those; the broker does not show "
            "which, or whether a worker consumes the queue"
        )
    if not count.consumers:
        return f"no worker consumes its queue {count.queue}"
    consumers = counted(count.consumers, "consumer")
    return (
        f"its queue {count.queue} has {consumers}, and {counted(count.pending, 'message')} that no consumer has "
        "received: the task is one of those, or it is parked or delayed, or a consumer that is busy or stopped holds "
        "it ('rabbitmqctl list_queues name messages_unacknowledged' counts the messages that consumers hold)"
    )


def _in_queue(app: App, channel: Any, queue: str, tasks: dict[str, str]) -> dict[str, str]:
    """Find the reasons of the tasks whose messages wait in a queue, were delivered from it, or are parked for it."""
    reasons: dict[str, str] = {}
    consumers = channel.consumers(queue) if isinstance(channel, SupportsConsumerListing) else []
    for position, body in enumerate(channel.pending(queue, MAX_SEARCHED)):
        if (uuid := signature_of(body).UUID) in tasks:
            reasons[uuid] = (
                f"it waits in queue {queue} behind {counted(position, 'message')}; "
                f"{_readers(consumers, inspecting(channel).count(queue))}"
            )
    for consumer in consumers:
        for body in consumer.bodies:
            if (uuid := signature_of(body).UUID) in tasks:
                reasons[uuid] = f"it was delivered to {about_consumer(consumer, app.config.lease)}"
    if isinstance(channel, SupportsParkedListing):
        for parked in channel.parked(queue, MAX_SEARCHED):
            sig = signature_of(parked.body)
            if sig.UUID in tasks:
                reasons[sig.UUID] = (
                    f"it is parked: no worker of queue {queue} that received it has registered the task {sig.Name!r}"
                    if parked.since is not None
                    else f"it is parked until its task {sig.Name!r} may start again: its rate is used up"
                )
    return reasons


def _readers(consumers: Sequence[ConsumerReport], count: QueueCounts) -> str:
    """Describe the consumers of the queue in which a task waits."""
    if count.consumers:
        one = count.consumers == 1
        holding = ""
        if count.held:
            names = ", ".join(each.name for each in consumers if each.bodies)
            holding = f" and {'holds' if one else 'hold'} {counted(count.held, 'message')} ({names})"
        return f"{counted(count.consumers, 'worker')} {'consumes' if one else 'consume'} that queue{holding}"
    if not count.silent:
        return "no gearmesh worker consumes that queue"
    silent = ", ".join(f"{each.name} {last_heard(each)}" for each in consumers)
    return (
        f"no worker of that queue gives a sign of life: consumer {silent}; they are stopped, frozen or dead"
    )


def about_consumer(consumer: ConsumerReport, lease: float) -> str:
    """Describe a consumer: ``consumer x, which holds 2 messages and was last heard of 40 s ago: …``."""
    conclusion = silence_of(consumer, lease) or "it has not begun to run this task"
    holds = counted(len(consumer.bodies), "message")
    return f"consumer {consumer.name}, which holds {holds} and {last_heard(consumer)}: {conclusion}"
