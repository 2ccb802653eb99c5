"""Converts the return value of a Celery task to typed results for Go."""

from __future__ import annotations

import logging
import typing
from typing import Any

import kombu.utils.json

from gearmesh.declarations import value_codec
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import LocalProtocolError, TaskError
from gearmesh.wire import types as wire
from gearmesh.wire.state import TaskResult

__all__ = ["declared", "stored_results", "to_json", "typed_results"]

log = logging.getLogger("gearmesh.celery")


def declared(name: str, run: Any) -> Declaration:
    """The result types that a task's annotation declares; none if Go has no type for the annotation."""
    try:
        hints = typing.get_type_hints(run, include_extras=True)
        results = value_codec.results_of(hints["return"]) if "return" in hints else None
    except TaskError as exc:  # Celery does not use annotations
        log.debug("task %s: its results are typed by their values: %s", name, exc)
        results = None
    except Exception as exc:  # and accepts one that is not valid Python
        log.debug("task %s: its annotations cannot be evaluated: %s", name, exc)
        results = None
    return Declaration(name, results=results)


def typed_results(declaration: Declaration, value: Any) -> tuple[TaskResult, ...]:
    """Convert a value to results typed by the annotation, or else by the value. None makes no result, a tuple several.

    Raises:
        LocalProtocolError: Go has no type for the value.
    """
    try:
        return declaration.dump_results(value)
    except LocalProtocolError:
        if declaration.results is None:
            raise
        # Celery does not check that the value fits the annotation.
        return Declaration(declaration.name).dump_results(value)


def stored_results(declaration: Declaration, value: Any) -> tuple[TaskResult, ...]:
    """Do as :func:`typed_results`, but write a value without a Go type as JSON in a string.

    Raises:
        LocalProtocolError: JSON cannot hold the value either.
    """
    try:
        return typed_results(declaration, value)
    except LocalProtocolError:
        return (wire.result("string", to_json(value)),)


def to_json(value: Any) -> str:
    """Write Celery's JSON. Raises LocalProtocolError for a value that Celery's JSON cannot hold."""
    try:
        text: str = kombu.utils.json.dumps(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError(f"{value!r:.80} is not JSON: {exc}") from exc
    return text
