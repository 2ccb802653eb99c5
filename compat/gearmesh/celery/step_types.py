"""What follows a task, in Celery's form, where Machinery's rules hold: Celery signatures of two types of our own.

``gearmesh.raw``  a signature that a Go program made: OnSuccess, OnError, a chord's callback. As Celery's callbacks
                  they survive ``self.retry()`` and ``self.replace()``.
``gearmesh.go``   a step of a Celery workflow that Go runs.

Both take results after their own arguments, as everything that Machinery runs. What neither Go nor these have words
for is done by three tasks on a Celery worker, see :mod:`.helpers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature

__all__ = [
    "APPLY_TASK",
    "CHORD_TASK",
    "FAILED_TASK",
    "GO_STEP_TYPE",
    "RAW_STEP_TYPE",
    "in_go",
    "is_raw",
    "raw_of",
    "raw_step",
]

RAW_STEP_TYPE: Final = "gearmesh.raw"
GO_STEP_TYPE: Final = "gearmesh.go"
#: Goes on with a chain or a callback: a group, a chord, a step that is to wait.
APPLY_TASK: Final = "gearmesh.apply"
#: A chord of Celery's whose last member ran in Go.
CHORD_TASK: Final = "gearmesh.chord"
#: A task of a Celery workflow failed in Go.
FAILED_TASK: Final = "gearmesh.failed"


def raw_step(sig: Signature, *, immutable: bool, count: int = 0) -> dict[str, Any]:
    """A signature of Go's as a Celery signature's dictionary.

    Args:
        immutable: no results are passed on to it.
        count: a chord's callback: how many members the group has.
    """
    return {
        "task": sig.Name,
        "args": [],
        "kwargs": {"signature": encode(sig).decode(), "count": count},
        "options": {},
        "subtask_type": RAW_STEP_TYPE,
        "immutable": immutable,
    }


def is_raw(step: Any) -> bool:
    """True for what :func:`raw_step` made, and what Celery made of it on the way."""
    return isinstance(step, Mapping) and step.get("subtask_type") == RAW_STEP_TYPE


def in_go(step: Any) -> bool:
    """True for a step of a Celery workflow that Go runs."""
    return isinstance(step, Mapping) and step.get("subtask_type") == GO_STEP_TYPE


def raw_of(step: Mapping[str, Any]) -> Signature:
    """The signature in it. RemoteProtocolError if it was damaged."""
    return decode(step["kwargs"]["signature"].encode())
