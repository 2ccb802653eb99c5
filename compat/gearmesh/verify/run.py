"""Makes one run, from the first question to the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.config import Config
from gearmesh.config.checks import COMMAND_LINE
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.ids import new_uuid
from gearmesh.inspection.broker import channel_to, inspecting
from gearmesh.verify.binding import delete_queue, queue_fault
from gearmesh.verify.conformance import PAUSE_S, TO_WORKER, large_unsigned, outcomes, plain_values, workflows
from gearmesh.verify.echo import PREFIX, echo_tasks, task_of_type
from gearmesh.verify.exchange import Check, Exchange, rows_of
from gearmesh.verify.report import DIFFERS, NOT_AVAILABLE, Report, Row
from gearmesh.wire.codec import encode
from gearmesh.wire.state import FAILURE, SUCCESS
from gearmesh.wire.types import arg, result
from gearmesh.worker.task_log import without_lines_of
from gearmesh.worker.worker import Worker

__all__ = ["QUEUE", "verify"]

#: The queue of the echo workers, unless the caller names another.
QUEUE: Final = "gearmesh_verify"
#: Tasks that the run's own worker runs at the same time.
OWN_CONCURRENCY: Final = 4
#: Settings that create the queue of the run's own worker on SQS and Pub/Sub.
CREATING: Final[Mapping[str, Any]] = {"sqs": {"create_queues": True}, "gcppubsub": {"create": True}}

log = logging.getLogger("gearmesh.verify")


def verify(
    config: Config,
    *,
    queue: str = QUEUE,
    binding_key: str = "",
    prefix: str = PREFIX,
    timeout: float = 10.0,
) -> Report:
    """Verify a live deployment through the workers of one queue. It leaves nothing behind.

    Args:
        config: the settings that name the broker and the backend, which must keep results.
        queue: the queue of workers that have registered the echo tasks. No message may wait in it.
        binding_key: on RabbitMQ the key that binds the queue; ``""``: the queue's name.
        prefix: the beginning of the tasks' names.
        timeout: seconds after which the run stops waiting if no state has changed.

    Raises:
        ConfigError: the backend keeps no results.
        GearmeshError: a server cannot be reached, or messages wait in the queue.
    """
    began = time.monotonic()
    settings = {"default_queue": queue, "amqp": {"binding_key": binding_key or queue}}
    with App(config=config.having(settings, origin=COMMAND_LINE)) as app:
        if not app.keeps_results:
            raise ConfigError(f"backend {app.masked_backend!r} keeps no results, expected one that does")
        own_queue = f"{queue}-python-{new_uuid()[:8]}"
        echo_tasks(app, prefix)
        exchange = Exchange(app, own_queue, timeout)
        _need_empty(app, queue)
        # Only this app may create a queue, that of the run's own worker. The run never creates the workers' queue.
        with App(config=app.config.having(CREATING, origin=COMMAND_LINE)) as own:
            echo_tasks(own, prefix)
            rows, left = _rows(app, own, exchange, prefix)
        return Report(
            broker=app.masked_broker,
            backend=app.masked_backend,
            queue=queue,
            rows=tuple(rows),
            seconds=round(time.monotonic() - began, 3),
            left=tuple(left),
        )


def _need_empty(app: App, queue: str) -> None:
    with channel_to(app) as channel:
        count = inspecting(channel).count(queue)
    if count.pending:
        raise GearmeshError(
            f"{count.pending} messages wait in the queue {queue!r}, expected an empty queue: a run empties its queue "
            "in the end, so it would delete these messages, too"
        )


def _rows(app: App, own: App, exchange: Exchange, prefix: str) -> tuple[list[Row], list[str]]:
    orphan = app.config.amqp.binding_key
    left: list[str] = []
    try:
        fault = _fault(app, exchange, prefix)
        if fault is not None:
            return [fault, *_unavailable(fault.detail)], left
        with _own_worker(own, exchange.own_queue):
            checks = _all(exchange, prefix)
        return rows_of(checks, exchange.judge), left
    finally:
        left += exchange.clean()
        try:
            delete_queue(app, exchange.own_queue)
        except GearmeshError as exc:
            left.append(f"queue {exchange.own_queue}: {exc}")
        if orphan != app.default_queue:
            log.debug("Go may have declared the queue %s", orphan)


def _all(exchange: Exchange, prefix: str) -> list[Check]:
    """Send everything, part by part, and wait for each part."""
    checks: list[Check] = []
    for part, pause in ((plain_values, 0.0), (outcomes, PAUSE_S), (workflows, 0.0), (large_unsigned, 0.0)):
        sent = part(exchange, prefix)
        exchange.wait(sent, pause)
        checks += sent
    return checks


def _fault(app: App, exchange: Exchange, prefix: str) -> Row | None:
    """Return the row with the reason why nothing can be compared; None if a worker answers."""
    name = f"{prefix}{task_of_type('string')}"
    probe = exchange.signature(name, arg("string", "probe"))
    problem = queue_fault(app, app.default_queue, encode(probe))
    if problem:
        return Row(direction="queue", subject=app.default_queue, verdict=DIFFERS, detail=problem)
    check = Check(
        direction=TO_WORKER,
        subject="string",
        uuid=probe.UUID,
        sent="'probe'",
        results=(result("string", "probe"),),
    )
    if not app.config.on_rabbitmq:
        app.send(probe)
    exchange.wait([check])
    state = exchange.state(probe.UUID)
    if state is not None and state.State in (SUCCESS, FAILURE):
        return None
    with channel_to(app) as channel:
        waiting = inspecting(channel).count(app.default_queue).pending
    why = (
        "the message still waits: no worker takes messages from this queue, or none of them has registered "
        f"{name!r}"
        if waiting
        else f"a worker took the message and gave no answer (state {state.State if state else 'none'}): has it "
        f"registered {name!r}, and does it use the backend {app.masked_backend}?"
    )
    return Row(direction="queue", subject=app.default_queue, verdict=NOT_AVAILABLE, detail=why)


def _unavailable(why: str) -> list[Row]:
    return [
        Row(
            direction=direction,
            subject="all",
            verdict=NOT_AVAILABLE,
            detail=f"the queue does not answer: {why}",
        )
        for direction in ("Python → worker", "worker → Python", "workflow")
    ]


@contextmanager
def _own_worker(app: App, queue: str) -> Iterator[None]:
    # A value that comes back with another type fails here. The report has a row for it, so the log needs no line.
    with without_lines_of(app.tasks), Worker(app, [queue], concurrency=OWN_CONCURRENCY, task_log_limit=0):
        yield
