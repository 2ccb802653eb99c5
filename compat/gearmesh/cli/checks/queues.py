"""Checks that workers serve the queues in use, and finds messages that no worker can run."""

from __future__ import annotations

import difflib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.cli.pending_reason import about_consumer
from gearmesh.errors import GearmeshError
from gearmesh.inspection.broker import inspecting, is_unknown, known_queues
from gearmesh.inspection.messages import message_text
from gearmesh.inspection.times import span
from gearmesh.interfaces.transport import (
    ParkedMessage,
    QueueCounts,
    SupportsConsumerListing,
    SupportsInspection,
    SupportsParkedListing,
)
from gearmesh.transports.registry import connect
from gearmesh.units import counted
from gearmesh.urls import AMQPTarget, parse

__all__ = ["no_tasks", "parked_messages", "unknown_queues", "unserved_queues"]

#: Seconds for which the first message of a queue is watched: a Go worker takes it in that time.
WATCHED_S: Final = 1.0
#: Seconds after which a parked message is a problem; before that, it may just be on its way to another worker.
PARKED_LONG_S: Final = 60.0
#: Number of parked messages of a queue that the check reads.
MAX_PARKED: Final = 1000


def no_tasks(case: Case) -> Iterator[Finding]:
    """Find an app without tasks, whose workers can run nothing."""
    if case.spec and not case.app.tasks:
        yield Finding(
            "note",
            f"app {case.spec}",
            "has no tasks: it can send tasks, but a worker of it can run nothing and parks every message",
            "If workers run it, import the modules with its tasks in the module that MODULE:APP names.",
        )


def unknown_queues(case: Case) -> Iterator[Finding]:
    """Find queues that the user named but that neither broker nor app knows; their names may be misspelt."""
    if not case.queues:
        return
    with _channel(case) as channel:
        if channel is None:
            return
        unknown = [name for name in case.queues if is_unknown(case.app, channel, name)]
        known = known_queues(case.app, channel) if unknown else []
    for name in unknown:
        alike = difflib.get_close_matches(name, [each for each in known if each != name], n=1)
        yield Finding(
            "note",
            f"queue {name!r}",
            "is not known: no message is in it, no worker consumes it, and no task of the app goes to it",
            f"Check the name; the known queues are {', '.join(known)}."
            if not alike
            else f"Did you mean {alike[0]!r}?",
        )


def unserved_queues(case: Case) -> Iterator[Finding]:
    """Find queues with messages that no worker takes, consumers that are silent, and dead letters.

    Redis does not know its Go workers, and no broker can tell a busy worker from a stopped one at once. So the check
    watches the queues for a second.
    """
    exact = isinstance(parse(case.config.brokers[0], "broker"), AMQPTarget)
    with _channel(case) as channel:
        if channel is None:
            return
        inspector: SupportsInspection = inspecting(channel)
        counts = [inspector.count(name) for name in _queues(case, channel)]
        waiting = [count for count in counts if count.pending]
        if not exact and channel.lists_pending:
            first = {count.queue: channel.pending(count.queue, 1) for count in waiting}
        if any(count.consumers or not exact for count in waiting):
            time.sleep(WATCHED_S)
        stuck = [
            count
            for count in waiting
            if (
                (inspector.count(count.queue).pending or 0) >= (count.pending or 0)
                if exact or not channel.lists_pending
                else channel.pending(count.queue, 1) == first[count.queue]
            )
        ]
        silent = [
            (count.queue, each)
            for count in counts
            if isinstance(channel, SupportsConsumerListing)
            for each in channel.consumers(count.queue)
            if each.bodies and each.is_silent(case.config.lease)
        ]
    for queue, consumer in silent:
        yield Finding(
            "problem",
            f"queue {queue!r}",
            about_consumer(consumer, case.config.lease),
            "If its process is stopped (state T in ps), continue it with 'kill -CONT' or kill it; if no other worker "
            "reads the queue, start one.",
        )
    for count in stuck:
        if not exact and not channel.lists_pending:
            yield _unmoved(count)
        else:
            yield _busy(count) if count.consumers else _unserved(case, count, exact=exact)
    for count in counts:
        if count.dead:
            yield Finding(
                "note",
                f"queue {count.queue!r}",
                f"has {counted(count.dead, 'dead letter')}: messages that no worker could run",
                f"'gearmesh dead list --queue {count.queue}' shows the reasons, and 'dead retry' sends them again.",
            )


def _waiting(count: QueueCounts) -> str:
    return f"{counted(count.pending or 0, 'message')} {'waits' if count.pending == 1 else 'wait'}"


def _unmoved(count: QueueCounts) -> Finding:
    return Finding(
        "note",
        f"queue {count.queue!r}",
        f"{_waiting(count)}, not fewer than {WATCHED_S:g} s ago; the broker does not show whether a worker consumes it",
        "Check whether a worker of this queue runs, and whether it is busy with other tasks.",
    )


def _busy(count: QueueCounts) -> Finding:
    consumers = counted(count.consumers or 0, "consumer")
    return Finding(
        "note",
        f"queue {count.queue!r}",
        f"{_waiting(count)}, and its {consumers} took none for {WATCHED_S:g} s",
        "Read the worker's log: if it runs other tasks, start more workers. If the log has no new lines, its process "
        "may be stopped (state T in ps): continue it with 'kill -CONT'. If it hangs, end it with SIGKILL; other "
        "workers then receive its messages.",
    )


def _unserved(case: Case, count: QueueCounts, *, exact: bool) -> Finding:
    silent = f" ({counted(count.silent, 'consumer')} of it gave no sign of life)" if count.silent else ""
    watched = "" if exact else f"; the first of them did not move for {WATCHED_S:g} s"
    queue = "" if count.queue == case.app.default_queue else f" -Q {count.queue}"
    go = "" if exact else " If Go workers serve this queue, all of them are busy."
    return Finding(
        "problem",
        f"queue {count.queue!r}",
        f"{_waiting(count)}, and no worker consumes it{silent}{watched}",
        f"Start a worker: gearmesh worker MODULE:APP{queue}.{go}",
    )


def parked_messages(case: Case) -> Iterator[Finding]:
    """Find parked messages of tasks that no worker of their queue has registered."""
    with _channel(case) as channel:
        if not isinstance(channel, SupportsParkedListing):
            return
        found = {name: channel.parked(name, MAX_PARKED) for name in _queues(case, channel)}
    for queue, parked in found.items():
        by_task: dict[str, list[ParkedMessage]] = defaultdict(list)
        for each in parked:
            if each.since is not None:
                by_task[message_text(each.body).task].append(each)
        for task, messages in sorted(by_task.items()):
            yield _parked(case, queue, task, [each.since for each in messages if each.since is not None])


def _parked(case: Case, queue: str, task: str, since: list[float]) -> Finding:
    oldest = time.time() - min(since)
    left = case.config.unregistered_max_age - oldest
    are, they = ("is", "it becomes a dead letter") if len(since) == 1 else ("are", "they become dead letters")
    until = f"in {span(left)}" if left > 0 else "at the next try"
    return Finding(
        "problem" if oldest > PARKED_LONG_S else "note",
        f"queue {queue!r}",
        f"{counted(len(since), 'message')} of the task {task!r} {are} parked, the oldest for {span(oldest)}: no worker "
        f"that received {'it' if len(since) == 1 else 'them'} has registered this task; {they} {until}",
        "Register the task in a worker of this queue (is its module imported?), or correct the name in its sender. "
        "'gearmesh parked' lists the messages.",
    )


def _queues(case: Case, channel: Any) -> list[str]:
    """The queues that the user named, the app's queues, and all others that the broker lists."""
    return sorted({*case.queues, *known_queues(case.app, channel)})


@contextmanager
def _channel(case: Case) -> Iterator[Any]:
    """Open a channel to the broker; yields None if the broker is inside one process or cannot be reached."""
    if case.config.broker.startswith(("eager", "memory:")):
        yield None
        return
    with ExitStack() as stack:
        channel = None
        connection = connect(case.config)
        # brokers_answer reports an error.
        with suppress(*connection.connection_errors, *connection.channel_errors, GearmeshError):
            channel = stack.enter_context(connection).channel()
        yield channel
