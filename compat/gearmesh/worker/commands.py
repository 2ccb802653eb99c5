"""Carries out the verbs of remote control in a supervisor."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gearmesh import __version__
from gearmesh.control.messages import check
from gearmesh.logs import set_level
from gearmesh.metrics.totals import Totals
from gearmesh.transports.unacked import process_name
from gearmesh.worker.fleet import Fleet
from gearmesh.worker.monitor import Monitor
from gearmesh.worker.options import WorkerOptions
from gearmesh.worker.orders import Order

__all__ = ["Commands"]

log = logging.getLogger("gearmesh.supervisor")

#: Running tasks that one reply names.
MAX_REPLY_TASKS: Final = 50


class Commands:
    """Answers requests in the control server's thread, and has the supervisor's thread make the changes.

    Args:
        options: the worker's options.
        queues: the queues that it reads.
        fleet: its processes.
        monitor: has the reports of the processes.
        later: has the supervisor call a function soon.
    """

    def __init__(
        self,
        options: WorkerOptions,
        queues: tuple[str, ...],
        fleet: Fleet,
        monitor: Monitor,
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.name = process_name(options.consumer_tag or "")
        self._options = options
        self._queues = queues
        self._fleet = fleet
        self._monitor = monitor
        self._later = later
        self._paused: set[tuple[str, str]] = set()
        self._began_at = time.time()
        #: called by the verb shutdown
        self.on_shutdown: Callable[[], None] = lambda: None

    def carry_out(self, verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Carry a verb out, and return the data of the reply.

        Raises:
            ConfigError: the verb or an argument is wrong, or this worker cannot do it.
        """
        check(verb, args)
        if verb == "status":
            return self._status()
        if verb != "ping":
            log.info("remote control: %s", " ".join([verb, *map(str, args.values())]))
        if verb in ("pause", "resume"):
            pair = (str(args["kind"]), str(args["name"]))
            self.set_paused(self._paused | {pair} if verb == "pause" else self._paused - {pair})
        elif verb in ("grow", "shrink"):
            return {"slots": self._resize(args["count"] if verb == "grow" else -args["count"])}
        elif verb == "log-level":
            level = str(args["level"])
            set_level(level)
            self._later(lambda: self._fleet.order(Order(log_level=level)))
        elif verb == "shutdown":
            self._later(self.on_shutdown)
        return {}

    def set_paused(self, paused: set[tuple[str, str]]) -> None:
        """Pause these queues and tasks, and no others."""
        if paused == self._paused:
            return
        self._paused = set(paused)
        queues, tasks = (
            tuple(sorted(name for kind, name in paused if kind == wanted)) for wanted in ("queue", "task")
        )
        self._later(lambda: self._fleet.order(Order(queues=queues, tasks=tasks)))

    def _resize(self, change: int) -> int:
        slots = max(1, self._fleet.slots + change)
        self._fleet.check_size(slots)
        self._later(lambda: self._fleet.resize(slots))
        return slots

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "version": __version__,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": int(self._began_at),
            "pool": self._options.pool,
            "queues": list(self._queues),
            "paused": sorted(f"{kind} {name}" for kind, name in self._paused),
            "slots": self._fleet.slots,
            "ready": self._monitor.ready,
        }
        self._monitor.totals.read(lambda totals: status.update(_numbers(totals)))
        return status


def _numbers(totals: Totals) -> dict[str, Any]:
    """Sum up the reports of all processes, and count the tasks that have ended."""
    latest = totals.latest
    running = sorted(
        (task for report in latest.values() for task in report.longest), key=lambda task: -task.seconds
    )
    outcomes: dict[str, int] = {}
    for (_, _, outcome), counts in totals.tasks.items():
        outcomes[outcome] = outcomes.get(outcome, 0) + counts.count
    return {
        "consumers": sorted(latest),
        "running": sum(report.running for report in latest.values()),
        "held": sum(report.held for report in latest.values()),
        "memory": sum(report.memory for report in latest.values()),
        "ended": outcomes,
        "tasks": [
            {"uuid": task.uuid, "task": task.task, "queue": task.queue, "seconds": round(task.seconds, 3)}
            for task in running[:MAX_REPLY_TASKS]
        ],
    }
