"""What a Celery task returned, as Go reads it."""

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
    """What the annotations of a task's function say about its results; nothing, if they say nothing to Go."""
    try:
        hints = typing.get_type_hints(run, include_extras=True)
        results = value_codec.results_of(hints["return"]) if "return" in hints else None
    except TaskError as exc:  # Celery lets one annotate what one likes
        log.debug("task %s: its results are typed by their values: %s", name, exc)
        results = None
    except Exception as exc:  # and what cannot be evaluated, too
        log.debug("task %s: its annotations cannot be evaluated: %s", name, exc)
        results = None
    return Declaration(name, results=results)


def typed_results(declaration: Declaration, value: Any) -> tuple[TaskResult, ...]:
    """The results by annotation, or else by the value: None is none, a tuple several.

    Raises:
        LocalProtocolError: Go has no type for it.
    """
    try:
        return declaration.dump_results(value)
    except LocalProtocolError:
        if declaration.results is None:
            raise
        # Annotated as one thing and returned as another: Celery does not mind.
        return Declaration(declaration.name).dump_results(value)


def stored_results(declaration: Declaration, value: Any) -> tuple[TaskResult, ...]:
    """As :func:`typed_results`; what Go has no type for is JSON in a string.

    Raises:
        LocalProtocolError: nor can JSON hold it.
    """
    try:
        return typed_results(declaration, value)
    except LocalProtocolError:
        return (wire.result("string", to_json(value)),)


def to_json(value: Any) -> str:
    """Celery's JSON. Raises LocalProtocolError for what it cannot hold."""
    try:
        text: str = kombu.utils.json.dumps(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError(f"{value!r:.80} is not JSON: {exc}") from exc
    return text
