"""Compares the outcome of a trial with the state that the task's real worker has stored."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.urls import redact_text
from gearmesh.wire.state import SUCCESS, TaskResult, TaskState
from gearmesh.wire.types import load

__all__ = ["Outcome", "Verdict", "compare"]

Verdict = Literal["agreed", "differed", "crashed"]
#: Characters of a value that a difference shows.
MAX_SHOWN_CHARS: Final = 80
_SECRETS: Final = re.compile(
    r"""(?i)(["']?[\w-]*(?:pass|secret|token|credential|api_?key)[\w-]*["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,}\]]+)"""
)


class Outcome(msgspec.Struct, frozen=True):
    """Holds the outcome of a trial, to be compared with the real run.

    Attributes:
        uuid: the UUID of the call. task: the name of the task.
        seconds: the duration of the function.
        results: the typed results; None: the function raised an exception.
        error: the text of the exception, as a FAILURE would hold it. kind: the exception's class.
    """

    uuid: str
    task: str
    seconds: float
    results: tuple[TaskResult, ...] | None = None
    error: str = ""
    kind: str = ""


def compare(outcome: Outcome, state: TaskState) -> tuple[Verdict, str]:
    """Compare a trial with the final state of the same call.

    Returns the verdict, and the difference in words, with secrets masked; ``""`` if the two agree.
    """
    if state.State == SUCCESS:
        if outcome.results is None:
            return "crashed", f"Python raised {outcome.kind}: {_shown(outcome.error)}; the worker succeeded"
        return _results(outcome.results, state.Results or ())
    if outcome.results is not None:
        return "differed", f"Python succeeded; the worker failed: {_shown(state.Error)}"
    if outcome.error != state.Error:
        return (
            "differed",
            f"both failed: Python with {_shown(outcome.error)}, the worker with {_shown(state.Error)}",
        )
    return "agreed", ""


def _results(ours: tuple[TaskResult, ...], theirs: Any) -> tuple[Verdict, str]:
    if len(ours) != len(theirs):
        return "differed", f"Python gave {len(ours)} results, the worker {len(theirs)}"
    for number, (one, two) in enumerate(zip(ours, theirs, strict=True), 1):
        if one.Type != two.Type:
            return "differed", f"result {number} is a {one.Type} in Python, and a {two.Type} in the worker"
        left, right = _value(one), _value(two)
        if left != right:
            return (
                "differed",
                f"result {number} is {_shown(repr(left))} in Python, and {_shown(repr(right))} in the worker",
            )
    return "agreed", ""


def _value(result: TaskResult) -> Any:
    try:
        return load(result.Type, result.Value)
    except RemoteProtocolError as exc:
        return f"unreadable: {exc}"


def _shown(text: str) -> str:
    """Return a text for people, without passwords in URLs, and without the values of names such as ``token``."""
    text = _SECRETS.sub(r"\1***", redact_text(text))
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"
