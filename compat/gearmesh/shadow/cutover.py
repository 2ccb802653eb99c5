"""The steps by which a task moves from Go to Python, and how to go back."""

from __future__ import annotations

from gearmesh.config import Config

__all__ = ["cutover_steps"]


def cutover_steps(task: str, config: Config, spec: str, queue: str) -> list[tuple[str, str]]:
    """The steps for one task, in order: (heading, text). The last one says how to go back.

    Args:
        task: the task's name.
        config: the app's settings.
        spec: the app as ``MODULE:APP``. queue: the queue that the Go workers of the task read.
    """
    unknown = (
        "RabbitMQ gives each worker its turn, so a message for another task reaches a worker that knows it after a few "
        "tries"
        if config.on_rabbitmq
        else "A worker that meets the name of a task it does not know leaves the message to the others"
    )
    return [
        (
            "Before",
            f"Run 'gearmesh shadow {spec} --tasks {task}' until it says ready. Keep the Go task registered: you "
            "need it to go back.",
        ),
        (
            "1. Add Python workers",
            f"gearmesh worker {spec} -Q {queue}\nNow both take {task} in turns. {unknown}, so nothing is lost. Watch "
            f"'gearmesh queues -A {spec} {queue}' and the failures of both logs.",
        ),
        (
            "2. Take the task out of Go",
            f"Remove {task!r} from RegisterTasks in the Go service and deploy it, one instance after the other. "
            "Running calls end in Go; from then on only Python runs the task.",
        ),
        (
            "3. Give it a queue of its own",
            f"@app.task(queue={f'{task}_python'!r}) for callers in Python, RoutingKey for callers in Go; start "
            f"'gearmesh worker {spec} -Q {task}_python' first. When 'gearmesh queues -A {spec} {queue}' shows no "
            f"message of the task, stop the Python workers of {queue}.",
        ),
        (
            "To go back",
            f"Register {task!r} in Go again and deploy it, let callers send to {queue} again, and then stop the Python "
            f"workers: 'gearmesh worker' ends its running tasks first (SIGTERM). What waits in {task}_python is "
            f"run if one Python worker of that queue stays until it is empty.",
        ),
    ]
