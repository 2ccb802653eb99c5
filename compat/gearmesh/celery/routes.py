"""The setting ``go_tasks``: the tasks that Go runs, with their queues and types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gearmesh.declarations.annotations import of_types
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import ConfigError, TaskError

__all__ = ["GoTask", "GoTasks", "go_tasks"]

#: A mapping from task names to a queue's name, a GoTask, or a mapping with the fields of a GoTask.
GoTasks = Mapping[str, "GoTask | str | Mapping[str, Any]"]


@dataclass(frozen=True)
class GoTask:
    """Describes a task that a Celery app sends to Go: its queue, types and retries.

    Attributes:
        queue: the queue that Go workers read.
        args: Go type names or annotations, one for each parameter. If the last is ``"...int64"``, the task takes any
            number of int64. Empty: the types follow from the values.
        retry_count: the number of times that a Go worker retries the task; 0: never.
    """

    queue: str
    args: tuple[Any, ...] = ()
    retry_count: int = 0

    def declaration(self, name: str) -> Declaration:
        """The declaration of the task's parameters. Raises TaskError for a type that Machinery does not know."""
        return of_types(name, self.args)


def go_tasks(setting: Any) -> dict[str, GoTask]:
    """Read the setting ``go_tasks``.

    Raises:
        ConfigError: the message names the task, its value and the expected value.
    """
    if not isinstance(setting, Mapping):
        raise ConfigError(f"go_tasks is {setting!r:.100}, expected a mapping: task name to queue")
    found = {}
    for name, value in setting.items():
        task = _one(name, value)
        if not isinstance(task.queue, str) or not task.queue:
            raise ConfigError(f"go_tasks[{name!r}]: queue is {task.queue!r}, expected a queue's name")
        if type(task.retry_count) is not int or task.retry_count < 0:
            raise ConfigError(
                f"go_tasks[{name!r}]: retry_count is {task.retry_count!r}, expected a whole number, 0 or more"
            )
        try:
            task.declaration(name)
        except TaskError as exc:
            raise ConfigError(f"go_tasks: {exc}") from exc
        found[name] = task
    return found


def _one(name: Any, value: Any) -> GoTask:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"go_tasks: {name!r} is not a task name, expected text")
    if isinstance(value, GoTask):
        return value
    if isinstance(value, str):
        return GoTask(value)
    known = [field.name for field in fields(GoTask)]
    if isinstance(value, Mapping) and "queue" in value and value.keys() <= set(known):
        return GoTask(**{**value, "args": tuple(value.get("args", ()))})
    raise ConfigError(
        f"go_tasks[{name!r}] is {value!r:.100}, expected a queue's name or a mapping with {', '.join(known)}"
    )
