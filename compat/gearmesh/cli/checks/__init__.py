"""The checks of ``gearmesh doctor``: one function for each subject, in a module for each kind of server.

A check takes the :class:`~gearmesh.cli.checks.base.Case` and yields findings. It yields none if the deployment does not
use its kind of server. A new check is a function and a line in :data:`CHECKS`. A check must not change anything in a
server. Only the checks in ``servers`` report that a server is unreachable.
"""

from __future__ import annotations

from typing import Final

from gearmesh.cli.checks.base import Case, Check, Finding
from gearmesh.cli.checks.dynamodb import dynamodb_permissions, dynamodb_tables
from gearmesh.cli.checks.pubsub import subscriptions
from gearmesh.cli.checks.queues import no_tasks, parked_messages, unknown_queues, unserved_queues
from gearmesh.cli.checks.rabbitmq import double_bindings, orphan_queue
from gearmesh.cli.checks.redis import clock, eviction, nameless_queue, persistence
from gearmesh.cli.checks.releases import releases
from gearmesh.cli.checks.schedules import schedules
from gearmesh.cli.checks.servers import backend_answers, brokers_answer, lock_answers
from gearmesh.cli.checks.sqs import sqs_queues

__all__ = ["CHECKS", "Case", "Check", "Finding"]

#: All checks, in the order in which the doctor shows their findings.
CHECKS: Final[tuple[Check, ...]] = (
    brokers_answer,
    backend_answers,
    lock_answers,
    no_tasks,
    unknown_queues,
    unserved_queues,
    parked_messages,
    nameless_queue,
    schedules,
    releases,
    clock,
    eviction,
    persistence,
    dynamodb_tables,
    dynamodb_permissions,
    orphan_queue,
    double_bindings,
    subscriptions,
    sqs_queues,
)
