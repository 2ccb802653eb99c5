"""The scheduler's process beside the worker's: ``gearmesh worker --with-scheduler``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gearmesh.worker.managed_process import KILL_DELAY_S, ChildProcess, ManagedProcess
from gearmesh.worker.options import WorkerOptions

__all__ = ["scheduler_process"]


def scheduler_process(
    spec: str, options: WorkerOptions, on_exit: Callable[[], None], broker: Callable[[], int]
) -> ManagedProcess[ChildProcess]:
    """Make the managed process that runs a scheduler.

    Args:
        spec: of the app.
        on_exit: called when a process has ended.
        broker: gives the index of the broker to try first, of several.
    """
    setup = {"spec": spec, "options": dataclasses.asdict(options)}

    def start() -> ChildProcess:
        return ChildProcess("gearmesh.scheduler.child", {**setup, "broker": broker()}, on_exit)

    # A scheduler ends within MAX_GRACE_S; the worker's grace time is for tasks.
    return ManagedProcess("scheduler", start, KILL_DELAY_S)
