"""The echo tasks that a worker registers so that ``gearmesh verify`` can exchange values with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import gearmesh
from gearmesh.app.app import App
from gearmesh.errors import RetryLater
from gearmesh.types import GoType, Int64
from gearmesh.wire.types import load

__all__ = ["PREFIX", "echo_tasks", "echoes", "outcomes", "task_of_type"]

#: The beginning of the tasks' names.
PREFIX: Final = "gearmesh_"
_PYTHON_TYPES: Final[dict[str, Any]] = {
    "bool": bool,
    **dict.fromkeys(("int", "int8", "int16", "int32", "int64"), int),
    **dict.fromkeys(("uint", "uint8", "uint16", "uint32", "uint64"), int),
    "float32": float,
    "float64": float,
    "string": str,
}


def task_of_type(type: str) -> str:
    """Return the name, without a prefix, of the task that returns a value of a Go type: ``echo_int64s``."""
    if type == "[]byte":
        return "echo_bytes"
    return f"echo_{type[2:]}s" if type.startswith("[]") else f"echo_{type}"


def echo_tasks(app: App, prefix: str = PREFIX, *, skip: Iterable[str] = ()) -> None:
    """Register the echo tasks in an app.

    Args:
        app: the app whose workers ``gearmesh verify`` checks.
        prefix: the beginning of each name.
        skip: names, without the prefix, of tasks that are left out.
    """
    left_out = set(skip)
    for name, fn in {**echoes(), **outcomes()}.items():
        if name not in left_out:
            app.task(name=f"{prefix}{name}")(fn)


def echoes() -> dict[str, Callable[..., Any]]:
    """Return, by the names of :func:`task_of_type`, a function for each Go type that returns its argument."""
    found = {"echo_bytes": _echo(bytes)}
    for name, python_type in _PYTHON_TYPES.items():
        one: Any = Annotated[python_type, GoType(name)]
        found[task_of_type(name)] = _echo(one)
        found[task_of_type(f"[]{name}")] = _echo(list[one])
    return found


def _echo(annotation: Any) -> Callable[[Any], Any]:
    def echo(value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return echo


def outcomes() -> dict[str, Callable[..., Any]]:
    """Make functions with other outcomes. ``retry_later`` remembers its keys, so each app needs its own functions."""
    sent_away: set[str] = set()

    def add(*numbers: Int64) -> Int64:
        return sum(numbers)

    def two(number: Int64, text: str) -> tuple[Int64, str]:
        return number, text

    def fail(message: str) -> None:
        raise RuntimeError(message)

    def on_error(message: str, *more: str) -> str:
        return "handled:" + ",".join((message, *more))

    def retry_later(key: str, ms: Int64) -> str:
        if key not in sent_away:
            sent_away.add(key)
            raise RetryLater(ms / 1000, "not yet")
        return "done"

    def with_ctx(number: Int64) -> str:
        sig = gearmesh.current()
        headers = ",".join(
            f'"{name}":"{load("string", value)}"' for name, value in sorted((sig.Headers or {}).items())
        )
        return f"{sig.Name}|{{{headers}}}|{number}"

    return {fn.__name__: fn for fn in (add, two, fail, on_error, retry_later, with_ctx)}
