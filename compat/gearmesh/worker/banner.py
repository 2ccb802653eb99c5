"""Logs, at the start of a worker, its servers, queues and tasks, and settings that look wrong."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from gearmesh.app.app import App
from gearmesh.units import counted, duration
from gearmesh.worker.options import WorkerOptions

__all__ = ["log_banner"]

log = logging.getLogger("gearmesh.worker")

#: Registered tasks that are listed by name.
MAX_TASKS_SHOWN: Final = 30


def log_banner(app: App, options: WorkerOptions, queues: Sequence[str]) -> None:
    """Log the servers, queues and tasks of a starting worker at INFO, and probable mistakes at WARNING."""
    # The supervisor starts its first process sooner if it does not import this before.
    from importlib.metadata import version

    log.info(
        "gearmesh %s: broker %s, results %s",
        version("gearmesh"),
        app.masked_broker,
        app.masked_backend or "none",
        extra={
            "_details": {
                "version": version("gearmesh"),
                "broker": app.masked_broker,
                "backend": app.masked_backend,
                "queues": list(queues),
                "pool": options.pool,
                "slots": options.concurrency,
                "lease": app.config.lease,
                "tasks": sorted(app.tasks),
            }
        },
    )
    noun = {"threads": "thread", "processes": "process", "asyncio": "coroutine"}[options.pool]
    log.info(
        "%s %s; %s; lease %s",
        "queue" if len(queues) == 1 else "queues",
        ", ".join(queues),
        counted(options.concurrency, noun),
        duration(app.config.lease),
    )
    names = sorted(app.tasks)
    if names:
        more = f" and {len(names) - MAX_TASKS_SHOWN} more" if len(names) > MAX_TASKS_SHOWN else ""
        log.info("%s: %s%s", counted(len(names), "task"), ", ".join(names[:MAX_TASKS_SHOWN]), more)
    for oddity in oddities(app, queues):
        log.warning("%s", oddity)


def oddities(app: App, queues: Sequence[str] = ()) -> list[str]:
    """Return sentences about settings that are probably mistakes."""
    found = []
    if not app.tasks:
        found.append(
            "no tasks are registered: this worker can run nothing, and parks every message. "
            "Import the modules with your tasks in the module that MODULE:APP names"
        )
    names_of: dict[object, list[str]] = defaultdict(list)
    for name, task in app.tasks.items():
        names_of[task.fn].append(name)
    for names in names_of.values():
        if len(names) > 1:
            found.append(f"one function is registered under several names: {', '.join(sorted(names))}")
    known = {app.config.default_queue} | {
        task.options.queue for task in app.tasks.values() if task.options.queue
    }
    found.extend(
        f"no task of this app is sent to the queue {queue!r}; it is read for other programs that send there. "
        f"Queues of this app: {', '.join(sorted(known))}"
        for queue in queues
        if queue not in known
    )
    if queues:
        unread: dict[str, list[str]] = defaultdict(list)
        for name, task in sorted(app.tasks.items()):
            if task.options.queue and task.options.queue not in queues:
                unread[task.options.queue].append(name)
        found.extend(
            f"this worker does not read the queue {queue!r}, to which tasks of this app are sent: {', '.join(names)}. "
            "Another worker has to read it (-Q)"
            for queue, names in sorted(unread.items())
        )
    if app.config.broker.startswith("memory:"):
        found.append("the broker is in this process's memory: no other process can send tasks to this worker")
    return found
