"""A scheduler as a process of its own under a worker's supervisor: ``python -m gearmesh.scheduler.child SETUP``."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading

from gearmesh.errors import GearmeshError
from gearmesh.logs import set_up_logging
from gearmesh.scheduler.scheduler import Scheduler
from gearmesh.worker.child import EXIT_CONFIG, options_of
from gearmesh.worker.loader import load_for
from gearmesh.worker.options import WorkerOptions

__all__ = ["main", "run"]

log = logging.getLogger("gearmesh.scheduler")

#: Seconds that sending may take at the end, at the most.
GRACE = 10.0


def run(spec: str, options: WorkerOptions, *, tell: bool = True) -> int:
    """Schedule for the app ``spec`` until a signal ends it; an exit code.

    The first signal gives what is being sent the ``grace`` of ``options``; the second ends at once.

    Args:
        spec: see :func:`gearmesh.worker.loader.load_app`.
        options: logging, settings and grace; the others are for workers.
        tell: see :func:`gearmesh.worker.loader.load_for`.

    Raises:
        GearmeshError: the app can't be loaded, or what it says can't be scheduled.
    """
    app = load_for(spec, options, tell=tell)
    scheduler = Scheduler(app)
    signals = 0

    def on_signal(number: int, frame: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(1)
        scheduler.end()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, on_signal)
    done = scheduler.run(min(options.grace, GRACE))
    app.close()
    return 0 if done else 1


def main(argv: list[str]) -> int:
    """Schedule as the supervisor says; an exit code."""
    setup = json.loads(argv[1])
    options = options_of(setup["options"])
    set_up_logging(options.log_level or "INFO", options.log_format)
    threading.Thread(target=_watch_parent, name="gearmesh-parent", daemon=True).start()
    try:
        return run(setup["spec"], options, tell=False)
    except GearmeshError as exc:
        log.critical("%s", exc)
        return EXIT_CONFIG


def _watch_parent() -> None:
    """The pipe from the parent closes when it dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    log.error("the supervisor is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
