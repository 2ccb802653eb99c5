"""Tasks as both languages know them, from an app or from a manifest in JSON."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any, Literal

import msgspec

from gearmesh.app.app import App
from gearmesh.config import NoBroker
from gearmesh.declarations.declaration import MISSING, Declaration, Parameter
from gearmesh.declarations.value_codec import ValueCodec
from gearmesh.errors import ConfigError, ProtocolError
from gearmesh.wire.typenames import TYPES

__all__ = ["ArgumentSpec", "ResultSpec", "TaskSpec", "default_of", "of_app", "of_json"]

Packing = Literal["", "json", "msgpack"]


class ResultSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one result of a task by its type.

    Attributes:
        type: its Go type; None: not known.
        annotation: the Python annotation; ``""`` for a Go task.
    """

    type: str | None
    annotation: str = ""

    @property
    def packing(self) -> Packing:
        """The format of structured content inside a string or bytes."""
        return _packing(self.annotation)


class ArgumentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one argument of a task; the first fields are those of a ResultSpec.

    Attributes:
        name: the name of the parameter; ``""``: not known.
        required: False: it may be left out.
        variadic: True: a call may have any number of such values.
        default: the value, as JSON, if it is left out; None: the default is None, or not known.
    """

    type: str | None
    annotation: str = ""
    name: str = ""
    required: bool = True
    variadic: bool = False
    default: Any = None

    @property
    def packing(self) -> Packing:
        """The format of structured content inside a string or bytes."""
        return _packing(self.annotation)


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Describes one task, in either language: its name, arguments and results.

    Attributes:
        task: the name of the task.
        arguments: its arguments, in order; a variadic one is the last.
        results: its results, in order; None: not known.
        queue: the queue to which it is sent; None: the sender's default queue.
        retries: its retry count.
        source: file and line of its registration, for people; ``""``: not known.
        doc: the first line of its docstring.
    """

    task: str
    arguments: tuple[ArgumentSpec, ...] = ()
    results: tuple[ResultSpec, ...] | None = None
    queue: str | None = None
    retries: int = 0
    source: str = ""
    doc: str = ""


def of_app(app: App) -> list[TaskSpec]:
    """Return the tasks that an app has registered, sorted by name."""
    found = []
    for name, task in sorted(app.tasks.items()):
        queue = task.options.queue
        if not queue:
            with suppress(NoBroker):
                queue = app.default_queue
        found.append(
            TaskSpec(
                task=name,
                arguments=_arguments(task.declaration),
                results=None
                if task.declaration.results is None
                else tuple(_result(slot) for slot in task.declaration.results),
                queue=queue or None,
                retries=task.options.retry_count or 0,
                doc=next(iter((task.__doc__ or "").strip().splitlines()), ""),
            )
        )
    return found


def _arguments(declaration: Declaration) -> tuple[ArgumentSpec, ...]:
    rest = () if declaration.rest is None else (_argument(declaration.rest, variadic=True),)
    return (*(_argument(each) for each in declaration.parameters), *rest)


def _argument(parameter: Parameter, *, variadic: bool = False) -> ArgumentSpec:
    return ArgumentSpec(
        name=parameter.name,
        type=parameter.slot.go or None,
        annotation=parameter.slot.shown,
        required=not variadic and parameter.default is MISSING,
        variadic=variadic,
        default=default_of(parameter),
    )


def default_of(parameter: Parameter) -> Any:
    """Return a parameter's default as a JSON value; None if it has no default, or None, or one without a Go type."""
    if parameter.default is MISSING or parameter.default is None:
        return None
    try:
        return msgspec.json.decode(parameter.slot.dump_arg(parameter.default).Value)
    except ProtocolError:
        return None


def _result(slot: ValueCodec) -> ResultSpec:
    return ResultSpec(type=slot.go or None, annotation=slot.shown)


def of_json(data: bytes, name: str) -> list[TaskSpec]:
    """Return the tasks of a manifest, sorted by name.

    Args:
        data: a list of tasks, as ``gearmesh tasks --json`` prints it.
        name: the name of the manifest, for errors.

    Raises:
        ConfigError: the data is not a manifest, or Machinery does not know a type in it.
    """
    try:
        tasks = msgspec.json.decode(data, type=list[TaskSpec])
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{name} is not a manifest as 'gearmesh tasks --json' prints it: {exc}") from None
    for task in tasks:
        _check(task, name)
    tasks.sort(key=lambda task: task.task)
    twice = [one.task for one, other in itertools.pairwise(tasks) if one.task == other.task]
    if twice:
        raise ConfigError(f"{name} has the task {twice[0]!r} twice")
    return tasks


def _check(task: TaskSpec, name: str) -> None:
    specs: list[Any] = [*task.arguments, *(task.results or ())]
    for spec in specs:
        if spec.type is not None and spec.type not in TYPES:
            raise ConfigError(
                f"{name}, task {task.task!r}: {spec.type!r} is not a Go type that Machinery can carry"
            )
    if any(argument.variadic for argument in task.arguments[:-1]):
        raise ConfigError(f"{name}, task {task.task!r}: a variadic argument is not the last one")


def _packing(annotation: str) -> Packing:
    if annotation.startswith("Json["):
        return "json"
    return "msgpack" if annotation.startswith("Msgpack[") else ""
