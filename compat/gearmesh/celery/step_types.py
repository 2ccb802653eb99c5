"""The two types of Celery signatures (steps) that gearmesh adds, for steps that follow Machinery's rules.

``gearmesh.raw``  a signature that a Go program made: OnSuccess, OnError, a chord's callback. Celery
                  keeps it as a callback, so it survives ``self.retry()`` and ``self.replace()``.
``gearmesh.go``   a step of a Celery workflow that Go runs.

Both take results after their own arguments, as all of Machinery's signatures do. If neither Go nor these types have a
form for a step, one of three tasks runs it on a Celery worker, see :mod:`.helper_tasks`.
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
#: Sends a step for which Go has no form: a group, a chord, or a step with a countdown.
APPLY_TASK: Final = "gearmesh.apply"
#: Fires a chord of a Celery app after its last member has run in Go.
CHORD_TASK: Final = "gearmesh.chord"
#: Fails the chord and the chain and sends the errbacks of a task in a Celery workflow that failed in Go.
FAILED_TASK: Final = "gearmesh.failed"


def raw_step(sig: Signature, *, immutable: bool, count: int = 0) -> dict[str, Any]:
    """Make the dictionary of a Celery signature from a signature that a Go program made.

    Args:
        sig: the signature.
        immutable: True if it takes no results.
        count: for a chord's callback, the number of the group's members.
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
    """True for a step that :func:`raw_step` made, also after Celery has copied it."""
    return isinstance(step, Mapping) and step.get("subtask_type") == RAW_STEP_TYPE


def in_go(step: Any) -> bool:
    """True for a step of a Celery workflow that Go runs."""
    return isinstance(step, Mapping) and step.get("subtask_type") == GO_STEP_TYPE


def raw_of(step: Mapping[str, Any]) -> Signature:
    """The signature in a raw step. Raises RemoteProtocolError if it is damaged."""
    return decode(step["kwargs"]["signature"].encode())
