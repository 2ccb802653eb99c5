"""A scheduler as a process of its own under a worker's supervisor: ``python -m gearmesh.scheduler.child SETUP``."""

from __future__ import annotations

import json
import logging
import os
import sys

from gearmesh.errors import GearmeshError
from gearmesh.logs import set_up_logging
from gearmesh.scheduler.monitor import SchedulerMonitor
from gearmesh.scheduler.scheduler import Scheduler
from gearmesh.systemd import ServiceNotifier
from gearmesh.transports.unacked import process_name
from gearmesh.worker.child_process import EXIT_CONFIG
from gearmesh.worker.control import follow
from gearmesh.worker.forked import handle_signals
from gearmesh.worker.loader import load_for
from gearmesh.worker.options import WorkerOptions, options_of
from gearmesh.worker.stop_signals import signals_to_stop

__all__ = ["main", "run"]

log = logging.getLogger("gearmesh.scheduler")

#: The longest time, in seconds, that sending may take at the end.
MAX_GRACE_S = 10.0


def run(
    spec: str,
    options: WorkerOptions,
    *,
    tell: bool = True,
    quiet: bool = False,
    control: int | None = None,
    broker: int = 0,
) -> int:
    """Run a scheduler for the app ``spec`` until a signal ends it, and return an exit code.

    After the first signal, runs that are being sent have the ``grace`` of ``options``; the second signal ends the
    process at once.

    Args:
        spec: see :func:`gearmesh.worker.loader.load_app`.
        options: logging, settings and grace; the others are for workers.
        tell, quiet: see :func:`gearmesh.worker.loader.load_for`.
        control: the child's end of a supervisor's :class:`~gearmesh.worker.control.ControlPipe`. The supervisor's
            orders then have the effect of the signals, and a signal, even the second, does no more than the first
            order. None: no supervisor.
        broker: the number of the broker to try first, of several.

    Raises:
        GearmeshError: the app, or one of its periodic tasks, is wrong.
    """
    app = load_for(spec, options, tell=tell, quiet=quiet)
    app.broker_choice.index = broker
    monitor = SchedulerMonitor(
        process_name(""), ServiceNotifier() if control is None else ServiceNotifier({})
    )
    scheduler = Scheduler(app, beat=monitor.beat)
    orders = 0

    def on_order() -> None:
        nonlocal orders
        orders += 1
        if orders > 1:
            os._exit(1)
        scheduler.end()

    def on_orphaned() -> None:
        log.error("the supervisor is gone: stopping")
        scheduler.end()

    # A signal to the whole process group arrives here and as the supervisor's order.
    end = on_order if control is None else scheduler.end
    handle_signals(signals_to_stop(), lambda number, frame: end())
    if control is not None:
        follow(control, on_order, on_orphaned)
    try:
        done = scheduler.run(min(options.grace, MAX_GRACE_S))
    finally:
        monitor.close()
    app.close()
    return 0 if done else 1


def main(argv: list[str]) -> int:
    """Run a scheduler with the supervisor's setup, and return an exit code."""
    setup = json.loads(argv[1])
    options = options_of(setup["options"])
    set_up_logging(options.log_level or "INFO", options.log_format)
    try:
        return run(
            setup["spec"],
            options,
            tell=False,
            quiet=setup["quiet"],
            control=setup["control"],
            broker=setup["broker"],
        )
    except GearmeshError as exc:
        log.critical("%s", exc)
        return EXIT_CONFIG


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
