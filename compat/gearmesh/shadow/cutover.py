"""The steps by which a task moves from Go to Python, and how to go back."""

from __future__ import annotations

from typing import Final

from gearmesh.config import Config

__all__ = ["cutover_steps", "own_queue"]

#: The queue that Python gets where its app names none but Go's.
PYTHON_QUEUE: Final = "python_tasks"


def own_queue(of_task: str | None, of_app: str, go_queue: str) -> str:
    """The queue that Python reads alone: the task's, else the app's, else one that the steps name.

    Args:
        of_task: the queue of the task's declaration. of_app: the app's default queue.
        go_queue: the queue that the Go workers of the task read.
    """
    named = [queue for queue in (of_task, of_app, PYTHON_QUEUE) if queue and queue != go_queue]
    return named[0] if named else f"{go_queue}_python"


def cutover_steps(task: str, config: Config, spec: str, queue: str, own: str) -> list[tuple[str, str]]:
    """The steps for one task, in order: (heading, text). The last two say how to go back.

    Args:
        task: the task's name.
        config: the app's settings.
        spec: the app as ``MODULE:APP``.
        queue: the queue that the Go workers of the task read. own: the queue that only Python reads.
    """
    unknown = (
        "RabbitMQ gives each worker its turn, so a message for another task reaches a worker that knows it after a few "
        "tries"
        if config.on_rabbitmq
        else "A worker that meets the name of a task it does not know leaves the message to the others"
    )
    callers = (
        f"Callers in Python whose app has the default queue {own} send there if they name no other queue."
        if config.default_queue == own
        else f'Callers in Python: @app.task(queue="{own}") or app.remote(…, queue="{own}").'
    )
    return [
        (
            "Before",
            f"Run 'gearmesh shadow {spec} --tasks {task}' until it says ready to switch; no worker of {spec} is needed "
            "for it.\nKeep the code of the Go task: you need it to go back.",
        ),
        (
            "1. Add Python workers",
            f"gearmesh worker {spec} -Q {queue},{own}\nNow Go and Python take {task} in turns. {unknown}, so nothing "
            f"is lost.\nWatch 'gearmesh queues -A {spec} {queue}' and the failures of both logs.",
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
            f'Callers in Go: RoutingKey: "{own}". {callers} The workers of step 1 read it already.\n'
            f"If all tasks of {queue} have moved: stop its Go workers instead, and you are done.",
        ),
        (
            f"4. Drop {queue}",
            f"Keep {queue} in -Q until 'gearmesh pending -A {spec} {queue}' and 'gearmesh delayed -A {spec} {queue}' "
            f"show no {task}, and your longest ETA or retry delay has passed. Then: gearmesh worker {spec} -Q {own}\n"
            "A message that comes later makes the Go workers put it back in a loop, with a log line each time. The "
            f"cure: a Python worker on {queue}, or the task registered in Go.",
        ),
        (
            "To go back before step 3",
            f"Register {task!r} in Go again and deploy it. Then stop the Python worker (SIGTERM): it ends its running "
            "tasks and returns the other messages to the queue.",
        ),
        (
            "To go back after step 3",
            f"Register {task!r} in Go again and deploy it. Let the callers send to {queue} again: remove RoutingKey"
            f" in Go; in Python, queue=\"{queue}\".\nWhen 'gearmesh queues -A {spec} {own}' shows 0 pending, held, "
            f"parked and delayed for {own}, stop the Python worker. Go workers do not read that queue.",
        ),
    ]
