"""One delivery on its way through a worker."""

from __future__ import annotations

from typing import Any

import msgspec

from gearmesh.app.task import Task
from gearmesh.interfaces.commit import Delivery
from gearmesh.wire.signature import Signature
from gearmesh.worker.interruptible import InterruptibleThread

__all__ = ["Job"]


class Job(msgspec.Struct, eq=False, gc=False):
    """A decoded delivery whose task is registered here. Times are the monotonic clock's; 0.0: not yet.

    ``shown`` is the last state written for it before it was done: "", RECEIVED or STARTED. ``slot`` is the thread's
    that runs it, where a thread does. ``interrupted`` is the error with which it was told to end.
    ``logged``: its lines are logged, see :class:`~.task_log.TaskLog`.
    ``fresh``: see :class:`~gearmesh.interfaces.commit.Commit`.
    """

    sig: Signature
    task: Task[..., Any, Any]
    delivery: Delivery
    received_at: float
    started_at: float = 0.0
    shown: str = ""
    slot: InterruptibleThread | None = None
    interrupted: Exception | None = None
    fresh: bool = False
    logged: bool = False
