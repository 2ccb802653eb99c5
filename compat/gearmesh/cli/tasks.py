"""``gearmesh tasks``: list the tasks that an app has registered."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import Any

import click

from gearmesh.app.app import App
from gearmesh.app.canvas import TaskSignature
from gearmesh.app.retry import Retry
from gearmesh.app.task import Task
from gearmesh.cli.apps import app_argument
from gearmesh.cli.options import as_table, config_file
from gearmesh.cli.output import note, print_json
from gearmesh.cli.tables import Column, Table, note_count
from gearmesh.config import NoBroker
from gearmesh.declarations.declaration import MISSING, Declaration, Parameter
from gearmesh.declarations.value_codec import ValueCodec
from gearmesh.stubs.manifest import default_of
from gearmesh.wire.signature import Signature
from gearmesh.worker.loader import load_app

__all__ = ["tasks"]


@click.command()
@app_argument
@as_table
@config_file
def tasks(app: str, wide: bool, json: bool, config: str | None) -> None:
    """List an app's tasks: Go types, queues, limits, retries, and schedules.

    If a task shows no limit, the worker's limit applies. An argument with a question mark may be left out.
    """
    loaded = load_app(app, config, needs_broker=False)
    specs = _specs(loaded)
    registered = [task for _, task in sorted(loaded.tasks.items())]
    found = [_about(loaded, task, specs[task.name]) for task in registered]
    if json:
        print_json(found)
        return
    table = Table(
        [
            Column("task", least=10),
            Column("arguments", least=16),
            Column("results", least=8),
            Column("queue", least=8, drop=4),
            Column("limits", least=8, drop=3),
            Column("retries", least=8, drop=2),
            Column("periodic", least=8, drop=1),
        ],
        wide=wide,
    )
    for task, about in zip(registered, found, strict=True):
        table.add(
            task.name,
            _arguments(task.declaration),
            _results(task.declaration.results),
            about["queue"] or "",
            _limits(about),
            _retries(task.retry_policy, about["retries"]),
            ", ".join(about["periodic"]),
        )
    note_count(len(found), "task", cut=table.show(whole=True))
    if not found:
        note(
            f"{app} has no tasks, so a worker of it can run none: import the modules with its tasks there",
            "yellow",
        )


def _specs(app: App) -> dict[str, list[str]]:
    """The specs of periodic entries that send a single task, by the task's name."""
    specs: dict[str, list[str]] = defaultdict(list)
    for entry in app.periodics.entries.values():
        if isinstance(entry.what, TaskSignature):
            specs[entry.what.task.name].append(entry.spec)
        elif isinstance(entry.what, Signature):
            specs[entry.what.Name].append(entry.spec)
    return specs


def _about(app: App, task: Task[..., Any, Any], specs: list[str]) -> dict[str, Any]:
    declaration = task.declaration
    queue = task.options.queue
    if not queue:
        with suppress(NoBroker):
            queue = app.default_queue
    policy = task.retry_policy
    rest = declaration.rest
    return {
        "task": task.name,
        "arguments": [
            *(_argument_json(each) for each in declaration.parameters),
            *([_argument_json(rest, variadic=True)] if rest is not None else []),
        ],
        "results": None
        if declaration.results is None
        else [{"type": slot.go or None, "annotation": slot.shown} for slot in declaration.results],
        "queue": queue or None,
        "soft_limit": task.soft_limit,
        "hard_limit": task.hard_limit,
        "seconds_between_starts": task.pause,
        "unique_for": task.unique_for,
        "retries": task.options.retry_count or 0,
        "retry": policy and _policy_json(policy),
        "periodic": specs,
    }


def _policy_json(policy: Retry) -> dict[str, Any]:
    kinds = {name: [kind.__qualname__ for kind in getattr(policy, name)] for name in ("on", "not_on")}
    return {name: getattr(policy, name) for name in ("backoff", "first", "most", "jitter")} | kinds


def _argument_json(parameter: Parameter, *, variadic: bool = False) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.slot.go or None,
        "annotation": parameter.slot.shown,
        "required": not variadic and parameter.default is MISSING,
        "variadic": variadic,
        "default": default_of(parameter),
    }


def _arguments(declaration: Declaration) -> str:
    """Write the parameters as ``image []byte, width? uint16, tags ...string``."""
    shown = [
        f"{each.name}{'' if each.default is MISSING else '?'} {_type(each.slot)}"
        for each in declaration.parameters
    ]
    if declaration.rest is not None:
        shown.append(f"{declaration.rest.name} ...{_type(declaration.rest.slot)}")
    return ", ".join(shown)


def _results(results: tuple[ValueCodec, ...] | None) -> str:
    return "any" if results is None else ", ".join(map(_type, results)) or "nothing"


def _type(slot: ValueCodec) -> str:
    """The Go type, with the annotation if a string or bytes hold JSON or MessagePack."""
    packed = slot.shown.startswith(("Json[", "Msgpack["))
    return f"{slot.go or 'any'}{f' ({slot.shown})' if packed else ''}"


def _limits(about: dict[str, Any]) -> str:
    parts = [
        f"{name} {about[key]:g} s" if about[key] else f"no {name} limit"
        for name, key in (("soft", "soft_limit"), ("hard", "hard_limit"))
        if about[key] is not None
    ]
    if about["seconds_between_starts"]:
        parts.append(_rate(about["seconds_between_starts"]))
    if about["unique_for"]:
        parts.append(f"unique for {about['unique_for']:g} s")
    return ", ".join(parts)


def _rate(seconds: float) -> str:
    """Write a task's rate as ``5/s``, from the seconds between two starts."""
    for unit, size in (("s", 1), ("m", 60)):
        if seconds <= size:
            return f"{size / seconds:g}/{unit}"
    return f"{3600 / seconds:g}/h"


def _retries(policy: Retry | None, count: int) -> str:
    if policy is None or not count:
        return str(count or "")
    on = "" if policy.on == (BaseException,) else f" on {', '.join(kind.__name__ for kind in policy.on)}"
    return f"{count}, {policy.backoff} from {policy.first:g} s{on}"
