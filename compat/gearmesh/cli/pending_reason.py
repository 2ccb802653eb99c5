"""Find out for ``gearmesh result`` why tasks are PENDING, as far as the broker tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.cli.broker import channel_to, inspecting, queue_of
from gearmesh.cli.common import Place
from gearmesh.cli.messages import signature_of
from gearmesh.cli.times import age
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.interfaces.transport import SupportsParkedListing
from gearmesh.units import counted
from gearmesh.urls import scheme_of
from gearmesh.wire.state import TaskState

__all__ = ["pending_reasons"]

#: Messages of a queue, and delayed messages, among which tasks are looked for.
MAX_SEARCHED: Final = 10_000
#: Without a reason.
_UNKNOWN: Final = "no reason is known; 'gearmesh doctor' looks for one"


def pending_reasons(place: Place, app: App, states: Sequence[TaskState]) -> dict[str, str]:
    """A sentence for each of these PENDING tasks, by UUID; an empty dictionary for no tasks.

    Args:
        place: names the broker, if ``app`` has none.
        app: the app with the results.
    """
    if not states:
        return {}
    reasons: dict[str, str] = {}
    try:
        if scheme_of(app.config.brokers[0]) == "eager" and not place.spec:
            app = place.app()
        if scheme_of(app.config.brokers[0]) not in ("eager", "memory"):
            with channel_to(app) as channel:
                reasons = _found(app, channel, {state.TaskUUID: state.TaskName for state in states})
    except ConfigError:
        pass  # no broker is named
    except GearmeshError as exc:  # it is unreachable
        return {state.TaskUUID: f"PENDING: {exc}" for state in states}
    return {state.TaskUUID: f"PENDING: {reasons.get(state.TaskUUID, _UNKNOWN)}" for state in states}


def _found(app: App, channel: Any, tasks: dict[str, str]) -> dict[str, str]:
    """Reasons by UUID, for a dictionary of UUIDs and the names of their tasks."""
    reasons: dict[str, str] = {}
    if not channel.lists_delayed:
        # RabbitMQ shows a message only by delivering it, which marks it redelivered: nothing is searched there.
        for uuid, name in tasks.items():
            queue = queue_of(app, name)
            if name in app.tasks and inspecting(channel).count(queue).consumers == 0:
                reasons[uuid] = f"no worker consumes its queue {queue}"
        return reasons
    now = time.time_ns()
    for entry in channel.delayed(MAX_SEARCHED):
        if (uuid := signature_of(entry.body).UUID) in tasks:
            reasons[uuid] = f"it waits for its ETA, {age(entry.eta_ns, now)}"
    for queue in sorted({queue_of(app, name) for name in tasks.values()} | {app.default_queue}):
        reasons |= _in_queue(channel, queue, tasks)
    return reasons


def _in_queue(channel: Any, queue: str, tasks: dict[str, str]) -> dict[str, str]:
    """Reasons of the tasks whose messages wait in a queue, or are parked for it."""
    reasons: dict[str, str] = {}
    consumers = inspecting(channel).count(queue).consumers
    for position, body in enumerate(channel.pending(queue, MAX_SEARCHED)):
        if (uuid := signature_of(body).UUID) in tasks:
            reasons[uuid] = f"it waits in queue {queue} behind {counted(position, 'message')}, " + (
                f"which {counted(consumers, 'worker')} consume{'s' if consumers == 1 else ''}"
                if consumers
                else "which no gearmesh worker consumes"
            )
    if isinstance(channel, SupportsParkedListing):
        for parked in channel.parked(queue, MAX_SEARCHED):
            sig = signature_of(parked.body)
            if sig.UUID in tasks:
                reasons[sig.UUID] = (
                    f"it is parked: no worker of queue {queue} that got it has registered the task {sig.Name!r}"
                    if parked.since is not None
                    else f"it is parked until its task {sig.Name!r} may start again: its rate is used up"
                )
    return reasons
