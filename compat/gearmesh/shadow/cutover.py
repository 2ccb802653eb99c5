"""The steps by which a task moves from Go to Python, and how to go back."""

from __future__ import annotations

from typing import Final, NamedTuple

from gearmesh.config import Config
from gearmesh.shadow.copies import SHADOW_QUEUE
from gearmesh.urls import PubSubTarget, parse
from gearmesh.wire.names import DEFAULT_QUEUE

__all__ = ["Move", "cutover_steps", "own_queue"]

#: The queue that Python gets where its app names none but Go's.
PYTHON_QUEUE: Final = "python_tasks"

#: A heading, and the text below it.
Step = tuple[str, str]


class Move(NamedTuple):
    """One task that moves.

    Attributes:
        task: the task's name.
        spec: the app as ``MODULE:APP``.
        queue: the queue that the Go workers of the task read.
        own: the queue that only Python reads.
    """

    task: str
    spec: str
    queue: str
    own: str


def own_queue(of_task: str | None, of_app: str, go_queue: str) -> str:
    """The queue that Python reads alone: the task's, else the app's, else one that the steps name.

    Args:
        of_task: the queue of the task's declaration. of_app: the app's default queue.
        go_queue: the queue that the Go workers of the task read.
    """
    gos = (go_queue, DEFAULT_QUEUE)  # Go workers read Machinery's default queue
    named = [queue for queue in (of_task, of_app, PYTHON_QUEUE) if queue and queue not in gos]
    return named[0] if named else f"{go_queue}_python"


def cutover_steps(move: Move, config: Config) -> list[Step]:
    """The steps for one task, in order: (heading, text). The last ones say how to go back.

    On a broker that delivers a message to any worker and hides it from the others for a while, workers that know
    different tasks do not share a queue: there the callers move first.

    Args:
        move: the task and its queues.
        config: the app's settings.
    """
    if (subscription := _subscription(config)) is not None:
        return [_before(move, config), *_callers_first_on_pubsub(move, subscription)]
    if config.on_sqs:
        return [_before(move, config), *_callers_first_on_sqs(move)]
    return [_before(move, config), *_workers_first(move, config)]


def _subscription(config: Config) -> str | None:
    """The subscription of the broker's URL; None: the broker is not Pub/Sub."""
    target = parse(config.brokers[0], "broker")
    return target.subscription if isinstance(target, PubSubTarget) else None


def _before(move: Move, config: Config) -> Step:
    task, spec, queue, own = move
    subscription = _subscription(config)
    lines = [
        f"Run 'gearmesh shadow {spec} --tasks {task}' until it says ready to switch; no worker of {spec} is needed "
        "for it.",
        "Keep the code of the Go task: you need it to go back.",
    ]
    if subscription is not None:
        lines.insert(0, f"Make the topic {SHADOW_QUEUE} and a subscription of it with the same name.")
    elif config.on_sqs:
        lines.insert(0, f"Make the queue {SHADOW_QUEUE}.")
    default = config.default_queue
    if default not in (queue, DEFAULT_QUEUE):
        lines.append(
            f"This app's default queue is {default}. Set default_queue to the DefaultQueue of the Go service, such as "
            f'{queue}, and queue="{own}" for the tasks of this app: a task that follows another one (OnSuccess, '
            "OnError, the callback of a chord) and has no RoutingKey goes to the default queue of the worker that ran "
            f"the one before. Python would send those of Go to {default}, which no Go worker reads."
        )
        if config.on_rabbitmq and config.amqp.binding_key != default:
            lines.append(
                f"On RabbitMQ it is worse: {default} is bound with the key {config.amqp.binding_key!r} of Go's default "
                "tasks, and gets a copy of each. They would run twice."
            )
        if subscription is not None:
            lines.append(
                f"On Pub/Sub it is worse if Go reads the subscription {subscription} of the broker's URL: a Python "
                f"worker of {default} reads this subscription, and takes Go's messages."
            )
    return "Before", "\n".join(lines)


def _callers(own: str) -> str:
    return (
        f'Callers in Go: RoutingKey: "{own}". Callers in Python: @app.task(queue="{own}") or '
        f'app.remote(…, queue="{own}").'
    )


def _workers_first(move: Move, config: Config) -> list[Step]:
    """The callers do not change at first: Go and Python workers share Go's queue."""
    task, spec, queue, own = move
    if config.on_rabbitmq:
        unknown = (
            "A Python worker puts a message of another task back, and so does Go from step 2 on. RabbitMQ gives each "
            "its turn, so a worker that knows the task gets it: mostly within a second, a few later"
        )
        listed = f"'gearmesh pending -A {spec} {queue}' shows no {task}"
        emptied = (
            f"When 'gearmesh queues -A {spec} {own}' shows 0 pending for {own}, and your longest ETA or retry delay "
            "has passed (RabbitMQ does not list delayed messages)"
        )
    else:
        unknown = "A worker that meets the name of a task it does not know leaves the message to the others"
        listed = (
            f"'gearmesh pending -A {spec} {queue}' and 'gearmesh delayed -A {spec} {queue}' show no {task}"
        )
        emptied = (
            f"When 'gearmesh queues -A {spec} {own}' shows 0 pending, held, parked and delayed for {own}"
        )
    return [
        (
            "1. Add Python workers",
            f"gearmesh worker {spec} -Q {queue},{own}\nNow Go and Python take {task} in turns. {unknown}. "
            f"Nothing is lost.\nWatch 'gearmesh queues -A {spec} {queue}' and the failures of both logs.",
        ),
        (
            "2. Take the task out of Go",
            f"Remove {task!r} from RegisterTasks in the Go service and deploy it, one instance after the other. "
            "Running calls end in Go; from then on only Python runs the task.\nUntil step 3 the Go workers put each "
            "message of it back, several times and with a log line each, before Python gets it: do step 3 on the same "
            "day.",
        ),
        (
            f"3. Send it to {own}",
            f"{_callers(own)} The workers of step 1 read it already.\n"
            f"If all tasks of {queue} have moved: stop its Go workers instead, and you are done.",
        ),
        (
            f"4. Drop {queue}",
            f"Keep {queue} in -Q until {listed}, and your longest ETA or retry delay has passed. Then: gearmesh worker "
            f"{spec} -Q {own}\nA message that comes later makes the Go workers put it back in a loop, with a log line "
            f"each time. The cure: a Python worker on {queue}, or the task registered in Go.",
        ),
        (
            "To go back before step 3",
            f"Register {task!r} in Go again and deploy it. Then stop the Python worker (SIGTERM): it ends its running "
            "tasks and returns the other messages to the queue.",
        ),
        (
            "To go back after step 3",
            f"Register {task!r} in Go again and deploy it. Let the callers send to {queue} again: remove RoutingKey"
            f' in Go; in Python, queue="{queue}".\n{emptied}, stop the Python worker. Go workers do not read that '
            "queue.",
        ),
    ]


def _callers_first_on_sqs(move: Move) -> list[Step]:
    """Go keeps the task until no caller sends it there any more."""
    _, spec, queue, own = move
    return _callers_first(
        move,
        make=f"Make the queue {own}, with a redrive policy (docs/reference/sqs.md), or set sqs.create_queues in the "
        "app.",
        watch=f"watch 'gearmesh queues -A {spec} {own}'",
        age=f"ApproximateAgeOfOldestMessage of {queue} (CloudWatch)",
        later="A message that comes later is hidden by each Go worker that meets it for the queue's visibility "
        "timeout, and each time counts as a receive: after maxReceiveCount SQS moves it to the dead-letter queue.",
        emptied=f"'gearmesh queues -A {spec} {own}' shows 0 pending and held for {own}",
    )


def _callers_first_on_pubsub(move: Move, subscription: str) -> list[Step]:
    """As on SQS. Pub/Sub itself tells no counts, so the steps name the metrics that have them."""
    own = move.own
    return _callers_first(
        move,
        make=f"Make the topic {own} and a subscription of it with the same name (docs/reference/pubsub.md).",
        watch=f"watch num_undelivered_messages of the subscription {own} (Cloud Monitoring)",
        age="oldest_unacked_message_age of the subscription that Go reads (Cloud Monitoring)",
        later="A message that comes later is returned by the Go workers at once, again and again.",
        emptied=f"num_undelivered_messages of the subscription {own} is 0 (Cloud Monitoring shows it minutes late)",
    )


def _callers_first(move: Move, *, make: str, watch: str, age: str, later: str, emptied: str) -> list[Step]:
    """The steps of a broker where workers that know different tasks do not share a queue.

    Args:
        move: the task and its queues.
        make: the sentence that has the queue made.
        watch: the way to see that Python's queue is read.
        age: the metric that tells the age of the oldest message that waits for Go.
        later: the sentence on a message for Go that comes too late.
        emptied: the sign that Python's queue is empty.
    """
    task, spec, queue, own = move
    return [
        (
            "1. Add Python workers",
            f"{make} Then: gearmesh worker {spec} -Q {own}\nLet no Python worker read {queue}: workers that know "
            "different tasks would take each other's messages, and each of these comes back late.",
        ),
        (
            f"2. Send it to {own}",
            f"{_callers(own)} Begin with one caller, {watch} and the worker's failures. Go serves {task} to all "
            "others meanwhile.",
        ),
        (
            "3. Take the task out of Go",
            f"Wait until no caller sends {task} to {queue} any more, and your longest ETA or retry delay has passed. "
            f"Then wait until the Go workers have run the calls from before: {age} is shorter than the time since the "
            f"last one. Then remove {task!r} from RegisterTasks in the Go service and deploy it.\n{later} The cure: "
            "the task registered in Go.",
        ),
        (
            "To go back before step 3",
            f'Let the callers send to {queue} again: remove RoutingKey in Go; in Python, queue="{queue}".\nWhen '
            f"{emptied}, and your longest ETA or retry delay has passed, stop the Python worker. Go workers do not "
            "read that queue.",
        ),
        (
            "To go back after step 3",
            f"Register {task!r} in Go again and deploy it. Then go on as above.",
        ),
    ]
