"""Starts the processes of one worker that run tasks, the first of them before anything else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.worker_child import WorkerChild

__all__ = ["Spawner"]


class Spawner:
    """Starts worker processes, and holds those that it has prepared. Belongs to the supervisor's thread.

    A prepared process loads the app, prints nothing, and waits for the order to begin. The supervisor loads the same
    app meanwhile, and shows the app's output, or its error, once. A process that replaces another one loads the app
    alone, and is not quiet.

    Args:
        spec: the app's MODULE:APP.
        options: the worker's options.
        on_exit: called when a process has ended.
        monitor: takes the reports of the processes.
    """

    def __init__(
        self, spec: str, options: WorkerOptions, on_exit: Callable[[], None], monitor: Monitor
    ) -> None:
        self._spec = spec
        self._options = options
        if options.pool == "processes":
            self._options = dataclasses.replace(options, concurrency=1)
        self._on_exit = on_exit
        self._monitor = monitor
        self._prepared: list[WorkerChild] = []

    def prepare(self, count: int) -> None:
        """Start processes until ``count`` of them are prepared."""
        while len(self._prepared) < count:
            self._prepared.append(self._start(quiet=True))

    def spawn(self) -> WorkerChild:
        """Return a process that was not yet told to begin: a prepared one, or a new one."""
        return self._prepared.pop(0) if self._prepared else self._start(quiet=False)

    def discard(self) -> None:
        """End the prepared processes that :meth:`spawn` has not returned."""
        while self._prepared:
            self._prepared.pop().discard()

    def _start(self, *, quiet: bool) -> WorkerChild:
        return WorkerChild(self._spec, self._options, self._on_exit, self._monitor, quiet=quiet)
