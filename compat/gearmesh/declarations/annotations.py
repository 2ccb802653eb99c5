"""Makes a task's Declaration from a function or from a list of types."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gearmesh.declarations import value_codec
from gearmesh.declarations.declaration import MISSING, Declaration, Parameter
from gearmesh.declarations.value_codec import ANY, ValueCodec
from gearmesh.errors import LocalProtocolError, TaskError

__all__ = ["of_function", "of_stub", "of_types", "renamed"]


def of_function(name: str, fn: Callable[..., Any], *, bound: bool = False) -> Declaration:
    """Declare a task by a function's annotations. If it is bound, leave out its first parameter, which is the task.

    Raises:
        TaskError: a parameter cannot be sent. The message names the task, the parameter and the annotation.
    """
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except Exception as exc:  # anything can be written in an annotation
        raise TaskError(f"task {name!r}: its annotations cannot be evaluated: {exc}") from exc
    parameters: list[Parameter] = []
    rest: Parameter | None = None
    given = list(inspect.signature(fn).parameters.values())
    if bound:
        if not given or given[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise TaskError(
                f"task {name!r}: bind=True, but the function has no first parameter to take the task"
            )
        del given[0]
    for p in given:
        if p.kind in (p.VAR_KEYWORD, p.KEYWORD_ONLY):
            stars = "**" if p.kind is p.VAR_KEYWORD else ""
            raise TaskError(
                f"task {name!r}: parameter {stars + p.name!r} takes keywords only, but arguments are sent by position"
            )
        try:
            slot = value_codec.of_annotation(hints[p.name]) if p.name in hints else ANY
        except TaskError as exc:
            raise TaskError(f"task {name!r}, parameter {p.name!r}: {exc}") from exc
        _check_default(name, p, slot)
        parameter = Parameter(p.name, slot, p.default, named=p.kind is p.POSITIONAL_OR_KEYWORD)
        if p.kind is p.VAR_POSITIONAL:
            rest = parameter
        else:
            parameters.append(parameter)
    try:
        results = value_codec.results_of(hints["return"]) if "return" in hints else None
    except TaskError as exc:
        raise TaskError(f"task {name!r}, result: {exc}") from exc
    return Declaration(name, tuple(parameters), rest, results)


def _check_default(name: str, p: inspect.Parameter, slot: ValueCodec) -> None:
    """Refuse a default that the parameter's own type cannot hold. Accept None, which often means "not given"."""
    if p.default is MISSING or p.default is None or not slot.go:
        return
    try:
        slot.dump_arg(p.default)
    except LocalProtocolError as exc:
        raise TaskError(f"task {name!r}, default of parameter {p.name!r} as {slot.shown}: {exc}") from exc


def of_stub(name: str, fn: Callable[..., Any]) -> Declaration:
    """Declare a remote task by a function with its parameters and results. The function never runs.

    Raises:
        TaskError: as :func:`of_function`.
    """
    return renamed(of_function(name, fn), name)


def renamed(declaration: Declaration, name: str) -> Declaration:
    """The declaration of a remote task with the same parameters and results under another name."""
    return msgspec.structs.replace(declaration, name=name, local=False)


def of_types(name: str, arg_types: Sequence[Any], results: Any = Any) -> Declaration:
    """Declare a remote task by its types: names of Go types, or Python annotations.

    Without types, the task takes any arguments, and their Go types follow from the values. ``"...int64"`` as the last
    type stands for Go's variadic parameter. ``results``: a type, several in a tuple, ``()`` or None for none, Any for
    unknown.
    """
    parameters: list[Parameter] = []
    rest = Parameter("args", ANY, named=False) if not arg_types else None
    try:
        for i, wanted in enumerate(arg_types):
            variadic = isinstance(wanted, str) and wanted.startswith("...")
            if variadic and i != len(arg_types) - 1:
                raise TaskError(f"{wanted!r} is not the last type")
            parameter = Parameter(
                f"#{i + 1}", value_codec.of_annotation(wanted[3:] if variadic else wanted), named=False
            )
            if variadic:
                rest = parameter
            else:
                parameters.append(parameter)
        if isinstance(results, (tuple, list)):
            declared: tuple[ValueCodec, ...] | None = tuple(map(value_codec.of_annotation, results))
        else:
            declared = value_codec.results_of(results)
    except TaskError as exc:
        raise TaskError(f"task {name!r}: {exc}") from exc
    return Declaration(name, tuple(parameters), rest, declared, local=False)
