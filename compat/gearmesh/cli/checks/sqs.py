"""Checks the queues of an Amazon SQS for attributes that lose tasks, run them late, or stop a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.inspection.broker import queue_of
from gearmesh.units import duration
from gearmesh.urls import SQSTarget, parse

if TYPE_CHECKING:
    from gearmesh.transports.sqs.client import SQSClient
    from gearmesh.transports.sqs.queues import SQSQueue

__all__ = ["sqs_queues"]

#: Receives that a redrive policy should allow, since a stopped or killed worker uses up one.
MIN_RECEIVES: Final = 5
#: Seconds of a visibility timeout that leave a worker time to extend it while SQS is slow to answer.
MIN_VISIBILITY_S: Final = 10
#: Seconds for which a queue should keep its messages: it loses tasks if workers stop for longer.
MIN_RETENTION_S: Final = 86_400
#: Requests that a worker must be allowed to send, by permission. Their receipt handle is not one of SQS's, so they have
#: no effect.
_ASKED: Final = {
    "sqs:DeleteMessage": ("delete_message", {}),
    "sqs:ChangeMessageVisibility": ("change_message_visibility", {"VisibilityTimeout": 0}),
}
_NO_RECEIPT: Final = "gearmesh doctor asks if this is allowed"


def sqs_queues(case: Case) -> Iterator[Finding]:
    """Find missing queues and permissions, and attributes of queues that do not suit tasks."""
    target = parse(case.config.brokers[0], "broker")
    if not isinstance(target, SQSTarget):
        return
    from gearmesh.transports.sqs.client import client_of
    from gearmesh.transports.sqs.errors import QueueMissing, SQSRefused, SQSUnavailable

    client = client_of(target, case.config.sqs)
    own = (queue_of(case.app, name) for name in case.app.tasks)
    for name in dict.fromkeys((case.app.default_queue, *own, *case.queues)):
        about = f"queue {name!r}"
        try:
            queue = client.queues.find(name)
            if queue is not None:
                yield from _of_queue(case, client, queue, about)
            elif not case.config.sqs.create_queues:
                advice = f"Create it: aws sqs create-queue --queue-name {name}. Or set sqs.create_queues."
                yield Finding("problem", about, "does not exist: no task can be sent or received", advice)
        except QueueMissing as exc:
            yield Finding("problem", about, f"its dead-letter queue does not exist: {exc}")
        except SQSRefused as exc:
            yield Finding("problem", about, str(exc), "docs/reference/sqs.md has the permissions.")
        except SQSUnavailable:  # brokers_answer reports it
            return


def _of_queue(case: Case, client: SQSClient, queue: SQSQueue, about: str) -> Iterator[Finding]:
    findings = [*_permissions(client, queue, about), *_attributes(queue, about), *_tasks(case, queue, about)]
    yield from findings
    if not any(each.level == "problem" for each in findings):
        yield Finding("ok", about, "has the permissions and attributes that tasks need")


def _permissions(client: SQSClient, queue: SQSQueue, about: str) -> Iterator[Finding]:
    from gearmesh.transports.sqs.errors import SQSRefused

    if not queue.known:
        yield Finding(
            "problem",
            about,
            "its attributes may not be read, so programs do not know its dead-letter queue, its visibility timeout and "
            "the size that its messages may have",
            "Allow sqs:GetQueueAttributes.",
        )
    for permission, (operation, more) in _ASKED.items():
        try:
            client.call(operation, QueueUrl=queue.url, ReceiptHandle=_NO_RECEIPT, **more)
        except SQSRefused as exc:
            if exc.denied:
                text = (
                    f"lacks the permission {permission}: a worker cannot settle the messages that it receives"
                )
                yield Finding(
                    "problem", about, text, f"Allow {permission}; docs/reference/sqs.md has all permissions."
                )


def _attributes(queue: SQSQueue, about: str) -> Iterator[Finding]:
    if not queue.known:
        return
    if not queue.dead_url:
        yield Finding(
            "problem",
            about,
            "has no redrive policy: dead letters stay in it, hidden for up to 12 hours at a time, and workers receive "
            "a message that kills its worker again and again",
            "Create a queue for its dead letters, and set its RedrivePolicy with a maxReceiveCount of 20, say.",
        )
    elif queue.max_receives is not None and queue.max_receives < MIN_RECEIVES:
        yield Finding(
            "note",
            about,
            f"its redrive policy dead-letters a message after {queue.max_receives} receives; a worker that is stopped "
            "or killed takes one, and so does each worker that has not registered the task",
            f"Set a maxReceiveCount of {MIN_RECEIVES} or more; 20 leaves room for a deployment.",
        )
    if queue.visibility_s < MIN_VISIBILITY_S:
        yield Finding(
            "note",
            about,
            f"its visibility timeout is {queue.visibility_s} s: if a worker cannot reach SQS for that time, another "
            "worker receives its messages and runs the tasks, too",
            "Set VisibilityTimeout to 30 or more. Workers extend it, so it need not be as long as a task.",
        )
    if queue.retention_s < MIN_RETENTION_S:
        text = (
            f"SQS deletes its messages after {duration(queue.retention_s)}, whether they were handled or not"
        )
        yield Finding("note", about, text, "Set MessageRetentionPeriod to 1209600 (14 days).")


def _tasks(case: Case, queue: SQSQueue, about: str) -> Iterator[Finding]:
    tasks = {name: task for name, task in case.app.tasks.items() if queue_of(case.app, name) == queue.name}
    hidden_s = case.config.sqs.receive_visibility_timeout or queue.visibility_s
    long = sorted(name for name, task in tasks.items() if (task.soft_limit or 0) > hidden_s)
    if long:
        yield Finding(
            "note",
            about,
            f"tasks may run for longer than the visibility timeout of {hidden_s:g} s: {', '.join(long)}. Workers of "
            "gearmesh extend it; a Go worker does so only with a visibility heartbeat (Machinery v2), else the task "
            "runs twice",
            "If Go workers read this queue, set VisibilityTimeout above the longest soft limit.",
        )
    loose = sorted(name for name, task in tasks.items() if not task.options.message_group)
    if queue.fifo and loose:
        yield Finding(
            "note",
            about,
            f"is a FIFO queue, and these tasks have no message group of their own: {', '.join(loose)}",
            "Give @app.task(message_group=…), or message_group in each call: gearmesh refuses a call without one.",
        )
