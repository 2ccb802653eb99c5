"""One delivery on its way through a worker."""

from __future__ import annotations

import time

from gearmesh.app.task import Task
from gearmesh.wire.commit import Delivery
from gearmesh.wire.signature import Signature

__all__ = ["Job"]


class Job:
    """A decoded delivery whose task is registered here. Times are the monotonic clock's; 0.0: not yet."""

    __slots__ = ("delivery", "received_at", "shown", "sig", "started_at", "task")

    def __init__(self, sig: Signature, task: Task, delivery: Delivery) -> None:
        self.sig = sig
        self.task = task
        self.delivery = delivery
        self.received_at = time.monotonic()
        self.started_at = 0.0
        #: the last state written for it before it was done: "", RECEIVED or STARTED
        self.shown = ""
