"""Starts a worker: first a process that will run tasks, then its supervisor. Both load the app at the same time."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gearmesh.transports.unacked import process_name
from gearmesh.wakeup import Wakeup
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.spawner import Spawner
from gearmesh.worker.stop_signals import StopSignals

if TYPE_CHECKING:
    from gearmesh.app.app import App

__all__ = ["run"]


def run(spec: str, options: WorkerOptions, check: Callable[[App], None] = lambda app: None) -> int:
    """Run a worker with its supervisor for the app ``spec`` until a signal ends it, and return an exit code.

    Args:
        spec: see :func:`.load_app`.
        options: the worker's options.
        check: raises a GearmeshError for an app that a worker can't run.

    Raises:
        GearmeshError: the app can't be loaded, ``check`` refuses it, it has hard limits that the pool can't keep, or
            (unless ``wait_for_broker``) broker or backend can't be reached.
    """
    changed = Wakeup()
    monitor = Monitor(options, process_name(options.consumer_tag or ""), changed.set)
    spawner = Spawner(spec, options, changed.set, monitor)
    signals = StopSignals(changed.set)
    try:
        # Leave a processor for this process, because the others cannot begin before it tells them to.
        spawner.prepare(min(options.processes, max(1, (os.cpu_count() or 1) - 1)))
        # These modules take longer to import than those that start a first process. The collector would search them
        # again and again, and free nothing.
        gc.disable()
        from gearmesh.worker.loader import load_for
        from gearmesh.worker.supervisor import Supervisor

        gc.freeze()
        gc.enable()
        try:
            with signals.interrupting():
                app = load_for(spec, options)
        except KeyboardInterrupt:
            return 0
        check(app)
        return Supervisor(app, spec, options, changed, signals, spawner=spawner, monitor=monitor).run()
    finally:
        spawner.discard()
        monitor.close()
        signals.close()
