"""From a function, or from a list of types, to a task's Declaration."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from gearmesh.app import slots
from gearmesh.app.declaration import MISSING, Declaration, Parameter
from gearmesh.app.slots import ANY, Slot
from gearmesh.errors import TaskError

__all__ = ["of_function", "of_types"]


def of_function(name: str, fn: Callable[..., Any]) -> Declaration:
    """Read a function's annotations.

    Raises:
        TaskError: a parameter cannot be sent; names the task, the parameter and the annotation.
    """
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except Exception as exc:  # anything can be written in an annotation
        raise TaskError(f"task {name!r}: its annotations cannot be evaluated: {exc}") from exc
    parameters: list[Parameter] = []
    rest: Parameter | None = None
    for p in inspect.signature(fn).parameters.values():
        if p.kind is p.VAR_KEYWORD or (p.kind is p.KEYWORD_ONLY and p.default is p.empty):
            stars = "**" if p.kind is p.VAR_KEYWORD else ""
            raise TaskError(f"task {name!r}, parameter {stars + p.name!r}: the wire has positions only")
        if p.kind is p.KEYWORD_ONLY:
            continue
        try:
            slot = slots.of_annotation(hints[p.name]) if p.name in hints else ANY
        except TaskError as exc:
            raise TaskError(f"task {name!r}, parameter {p.name!r}: {exc}") from exc
        parameter = Parameter(p.name, slot, p.default, named=p.kind is p.POSITIONAL_OR_KEYWORD)
        if p.kind is p.VAR_POSITIONAL:
            rest = parameter
        else:
            parameters.append(parameter)
    try:
        results = slots.results_of(hints["return"]) if "return" in hints else None
    except TaskError as exc:
        raise TaskError(f"task {name!r}, result: {exc}") from exc
    return _declaration(name, parameters, rest, results, local=True)


def of_types(name: str, arg_types: Sequence[Any], results: Any = Any) -> Declaration:
    """Declare a task that is not here by its types: Go names or Python annotations.

    No types at all: whatever is given, by the values. ``"...int64"`` as the last is Go's
    variadic. ``results``: a type, several in a tuple, ``()`` or None for none, Any for unknown.
    """
    parameters: list[Parameter] = []
    rest = Parameter("args", ANY, named=False) if not arg_types else None
    try:
        for i, wanted in enumerate(arg_types):
            variadic = isinstance(wanted, str) and wanted.startswith("...")
            if variadic and i != len(arg_types) - 1:
                raise TaskError(f"{wanted!r} is not the last type")
            parameter = Parameter(
                f"#{i + 1}", slots.of_annotation(wanted[3:] if variadic else wanted), named=False
            )
            if variadic:
                rest = parameter
            else:
                parameters.append(parameter)
        if isinstance(results, (tuple, list)):
            declared: tuple[Slot, ...] | None = tuple(map(slots.of_annotation, results))
        else:
            declared = slots.results_of(results)
    except TaskError as exc:
        raise TaskError(f"task {name!r}: {exc}") from exc
    return _declaration(name, parameters, rest, declared, local=False)


def _declaration(
    name: str,
    parameters: Sequence[Parameter],
    rest: Parameter | None,
    results: tuple[Slot, ...] | None,
    *,
    local: bool,
) -> Declaration:
    required = sum(p.default is MISSING for p in parameters)
    return Declaration(
        name=name,
        parameters=tuple(parameters),
        rest=rest,
        results=results,
        local=local,
        required=required,
        exact=tuple(p.slot for p in parameters),
    )
