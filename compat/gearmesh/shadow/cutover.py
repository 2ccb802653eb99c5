"""The steps by which a task moves from Go to Python, and those by which it goes back."""

from __future__ import annotations

from typing import Final, NamedTuple

from gearmesh.config import Config
from gearmesh.shadow.copies import SHADOW_QUEUE
from gearmesh.urls import PubSubTarget, parse
from gearmesh.wire.names import DEFAULT_QUEUE

__all__ = ["Move", "cutover_steps", "own_queue"]

#: The queue that Python gets if its app names no queue but Go's.
PYTHON_QUEUE: Final = "python_tasks"

#: The end of the name of each FIFO queue on SQS, and of no other queue.
FIFO: Final = ".fifo"

#: A heading, and the text below it.
Step = tuple[str, str]


class Move(NamedTuple):
    """One task that moves from Go to Python.

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
    """Return the queue that only Python reads: the task's, else the app's, else a new one that the steps name.

    Args:
        of_task: the queue of the task's declaration; None: it names no queue. of_app: the app's default queue.
        go_queue: the queue that the Go workers of the task read.
    """
    gos = (go_queue, DEFAULT_QUEUE)  # Go workers read Machinery's default queue
    end = FIFO if go_queue.endswith(FIFO) else ""
    named = [queue for queue in (of_task, of_app, f"{PYTHON_QUEUE}{end}") if queue and queue not in gos]
    return named[0] if named else f"{go_queue.removesuffix(FIFO)}_python{end}"


def cutover_steps(move: Move, config: Config) -> list[Step]:
    """Return the steps for one task, in order: (heading, text). The last ones say how to go back.

    SQS and Pub/Sub deliver a message to any worker, and hide it from the others for a while. So workers that know
    different tasks must not share a queue there, and the callers move first.

    Args:
        move: the task and its queues.
        config: the app's settings.
    """
    if (subscription := _subscription(config)) is not None:
        return [_before(move, config), *_callers_first_on_pubsub(move, subscription)]
    if config.on_sqs:
        return [_before(move, config), *_callers_first_on_sqs(move, create=config.sqs.create_queues)]
    return [_before(move, config), *_workers_first(move, config)]


def _subscription(config: Config) -> str | None:
    """Return the subscription of the broker's URL; None if the broker is not Pub/Sub."""
    target = parse(config.brokers[0], "broker")
    return target.subscription if isinstance(target, PubSubTarget) else None


def _before(move: Move, config: Config) -> Step:
    task, spec, queue, own = move
    lines = [
        f"Copy a share of the calls of {task} to {SHADOW_QUEUE} (docs/howto/shadow.md).",
        f"Run 'gearmesh shadow {spec} --tasks {task}' until it says \"ready to switch\". It needs no worker of {spec}.",
        "Deploy the callers without the copies. Then delete the remaining copies: "
        f"gearmesh purge {SHADOW_QUEUE} -A {spec}",
        "Keep the code of the Go task: you need it to go back.",
    ]
    if _subscription(config) is not None:
        lines.insert(0, f"Make the topic {SHADOW_QUEUE} and a subscription of it with the same name.")
    elif config.on_sqs and not config.sqs.create_queues:
        lines.insert(0, f"Make the queue {SHADOW_QUEUE}.")
    if config.on_sqs and queue.endswith(FIFO) and not own.endswith(FIFO):
        lines.append(
            f"{queue} is a FIFO queue, and {own} is not: SQS would keep no order there. Give the tasks of this app a "
            f'queue whose name ends in {FIFO}, such as queue="{own}{FIFO}".'
        )
    if config.default_queue not in (queue, DEFAULT_QUEUE):
        lines += _default_queue_of_python(move, config)
    return "Before", "\n".join(lines)


def _default_queue_of_python(move: Move, config: Config) -> list[str]:
    """Return the reasons why the app's default queue must be one that Go workers read."""
    default, subscription = config.default_queue, _subscription(config)
    lines = [
        f"This app's default queue is {default}. Set default_queue to the DefaultQueue of the Go service, such as "
        f'{move.queue}, and write queue="{move.own}" at the tasks of this app.',
        "The reason: a task that follows another one (OnSuccess, OnError, the callback of a chord) and has no "
        "RoutingKey goes to the default queue of the worker that ran the other one. From Python such a task of Go "
        f"would go to {default}, which no Go worker reads.",
    ]
    if config.on_rabbitmq and config.amqp.binding_key != default:
        lines.append(
            f"On RabbitMQ there is one more reason: {default} is bound with the key {config.amqp.binding_key!r} of "
            "Go's default tasks, and gets a copy of each. They would run twice."
        )
    if subscription is not None:
        lines.append(
            f"On Pub/Sub there is one more reason if Go reads the subscription {subscription} of the broker's URL: a "
            f"Python worker of {default} reads this subscription, and takes Go's messages."
        )
    return lines


def _callers(own: str) -> str:
    return (
        f'Callers in Go set RoutingKey: "{own}". Callers in Python use @app.task(queue="{own}") or '
        f'app.remote(…, queue="{own}").'
    )


def _workers_first(move: Move, config: Config) -> list[Step]:
    """Return the steps for a broker on which Go and Python workers can share a queue, so the callers can move later."""
    task, spec, queue, own = move
    if config.on_rabbitmq:
        unknown = (
            "A Python worker puts a message of an unknown task back, and so does Go from step 2 on. RabbitMQ delivers "
            "it to the workers in turn, so one that knows the task gets it: most messages within a second, a few later"
        )
        listed = f"'gearmesh pending -A {spec} {queue}' shows no {task}"
        emptied = (
            f"When 'gearmesh queues -A {spec} {own}' shows 0 pending for {own}, and your longest ETA or retry delay "
            "has passed (RabbitMQ does not list delayed messages)"
        )
    else:
        unknown = "A worker that receives a message of a task that it does not know leaves the message to the others"
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
            f"{spec} -Q {own}\nIf a message comes later, the Go workers put it back in a loop, with a log line each "
            f"time. To end the loop, start a Python worker on {queue}, or register the task in Go.",
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


def _callers_first_on_sqs(move: Move, *, create: bool) -> list[Step]:
    """Return the steps for SQS: Go keeps the task until no caller sends messages of it to Go's queue.

    Args:
        move: the task and its queues.
        create: True: the workers make the queues that they read.
    """
    task, spec, queue, own = move
    kind = "FIFO queue" if own.endswith(FIFO) else "queue"
    return _callers_first(
        move,
        make=f"The Python workers make the {kind} {own}, since sqs.create_queues is True."
        if create
        else f"Make the {kind} {own} with a redrive policy (docs/reference/sqs.md).",
        allow=f"Allow the callers of {task} to send to {own} (sqs:SendMessage).",
        watch=f"'gearmesh queues -A {spec} {own}'",
        meanwhile=f" A message group that has calls in both queues runs in both at once: order holds within {own} only."
        if own.endswith(FIFO)
        else "",
        age=f"ApproximateAgeOfOldestMessage of {queue} (CloudWatch)",
        # Go: the worker stops consuming with an error and starts again. The goroutine that was receiving goes on until
        # it has taken as many messages as the concurrency allows, and no goroutine runs these messages.
        later=f"Do not shorten this step: one call of {task} that comes later disturbs the other tasks. Each time a Go "
        "worker receives it, this worker also takes as many other messages as its concurrency, and runs none of them. "
        "SQS delivers all of these again after the queue's visibility timeout, and moves a message to the dead-letter "
        f"queue after maxReceiveCount receives.\nIf it happens, register {task!r} in Go again and deploy it. If "
        "SIGTERM does not end the Go workers of the version before, use SIGKILL.",
        emptied=f"'gearmesh queues -A {spec} {own}' shows 0 pending, held and delayed",
    )


def _callers_first_on_pubsub(move: Move, subscription: str) -> list[Step]:
    """Return the steps for Pub/Sub, which are like those for SQS. Pub/Sub reports no counts, so they name metrics."""
    task, own = move.task, move.own
    return _callers_first(
        move,
        make=f"Make the topic {own} and a subscription of it with the same name (docs/reference/pubsub.md).",
        allow=f"Allow the callers of {task} to publish to {own}.",
        watch=f"num_undelivered_messages of the subscription {own} (Cloud Monitoring)",
        age="oldest_unacked_message_age of the subscription that Go reads (Cloud Monitoring)",
        later=f"If a call of {task} comes later, the Go workers return its message at once, again and again. Register "
        f"{task!r} in Go again: then they run it.",
        emptied=f"num_undelivered_messages of the subscription {own} is 0 (Cloud Monitoring shows it minutes late)",
    )


def _callers_first(
    move: Move, *, make: str, allow: str, watch: str, age: str, later: str, emptied: str, meanwhile: str = ""
) -> list[Step]:
    """Return the steps for a broker where workers that know different tasks must not share a queue.

    Args:
        move: the task and its queues.
        make: the sentence about making Python's queue.
        allow: the sentence about the callers' right to send to it.
        watch: a command or metric that shows if Python's queue is read.
        age: the metric with the age of the oldest message that waits for Go.
        later: the sentences on a message for Go that comes too late.
        emptied: the sign that Python's queue is empty.
        meanwhile: a sentence on calls that run while the callers move, after a space.
    """
    task, spec, queue, own = move
    return [
        (
            "1. Add Python workers",
            f"{make} {allow}\nStart the workers: gearmesh worker {spec} -Q {own}\nLet no Python worker read {queue}: "
            "it would receive messages of tasks that only Go knows, and would delay each of them.",
        ),
        (
            f"2. Send it to {own}",
            f"{_callers(own)}\nBegin with one caller. Watch {watch} and the failures in the log of the Python worker. "
            f"Go still runs the calls of all other callers.{meanwhile}",
        ),
        (
            "3. Take the task out of Go",
            f"Wait until no caller sends {task} to {queue} any more. Then let your longest ETA or retry delay pass, "
            f"and note the time.\nWait until {age} is below the time that has passed since then. The Go workers have "
            f"then run all calls of {task}.\nRemove {task!r} from RegisterTasks in the Go service and deploy it.\n"
            f"{later}",
        ),
        (
            "To go back before step 3",
            f"Let the callers send to {queue} again: in Go remove RoutingKey, in Python write "
            f'queue="{queue}".\nKeep the Python worker, since no Go worker reads {own}, until {emptied} and your '
            "longest ETA or retry delay has passed. Then stop it (SIGTERM).",
        ),
        (
            "To go back after step 3",
            f"Register {task!r} in Go again and deploy it. Then go back as before step 3.",
        ),
    ]
