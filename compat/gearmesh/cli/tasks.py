"""``gearmesh tasks``: the tasks that an app has registered."""

from __future__ import annotations

from typing import Any

import click

from gearmesh.app.declaration import MISSING, Parameter
from gearmesh.app.task import Task
from gearmesh.cli.common import app_argument, as_json, as_wide, config_file, print_json
from gearmesh.cli.display import counted, show_rows
from gearmesh.worker.loader import load_app

__all__ = ["tasks"]


@click.command()
@app_argument
@as_wide
@as_json
@config_file
def tasks(app: str, wide: bool, json: bool, config: str | None) -> None:
    """List an app's tasks with their Go types, queues, limits and retries."""
    found = [_about(each) for _, each in sorted(load_app(app, config).tasks.items())]
    if json:
        print_json(found)
        return
    rows = [
        (
            f"{each['task']}({', '.join(each['arguments'])})",
            "" if each["results"] is None else ", ".join(each["results"]) or "nothing",
            each["queue"] or "",
            ", ".join(f"{name} {value:g} s" for name, value in each["limits"].items()),
            str(each["retries"] or ""),
        )
        for each in found
    ]
    show_rows(("task", "results", "queue", "limits", "retries"), rows, wide=wide)
    click.secho(counted(len(found), "task"), err=True)


def _about(task: Task[..., Any, Any]) -> dict[str, Any]:
    declaration = task.declaration
    arguments = [_shown(each) for each in declaration.parameters]
    if declaration.rest is not None:
        arguments.append(f"...{declaration.rest.slot.go or 'any'}")
    limits = {
        "soft": task.soft_limit,
        "hard": task.hard_limit,
        "pause": task.pause,
        "unique_for": task.unique_for,
    }
    return {
        "task": task.name,
        "arguments": arguments,
        "results": None
        if declaration.results is None
        else [slot.go or "any" for slot in declaration.results],
        "queue": task.options.queue,
        "limits": {name: value for name, value in limits.items() if value is not None},
        "retries": task.options.retry_count,
    }


def _shown(parameter: Parameter) -> str:
    optional = "" if parameter.default is MISSING else "?"
    return f"{parameter.name}{optional} {parameter.slot.go or 'any'}"
