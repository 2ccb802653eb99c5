"""The options of a worker, as the command line gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gearmesh.errors import ConfigError
from gearmesh.log_levels import LEVELS
from gearmesh.logs import FORMATS
from gearmesh.transports.queue_order import QueueOrder, picker_of

__all__ = ["MAX_ASYNCIO_THREADS", "POOLS", "Pool", "WorkerOptions", "options_of"]

#: The largest number of threads for ``def`` tasks in the pool "asyncio".
MAX_ASYNCIO_THREADS: Final = 8
#: A process may grow by this factor, or to this number of slots if that is more.
GROWTH_FACTOR: Final = 4
MIN_GROWN_SLOTS: Final = 64
Pool = Literal["threads", "asyncio", "processes"]
POOLS: Final = ("threads", "asyncio", "processes")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """Holds the settings of one ``gearmesh worker``.

    Attributes:
        concurrency: the number of tasks that run at a time; 1 or more. With the pool ``"processes"``, the number of
            processes.
        pool: ``"threads"``; ``"asyncio"``: ``async def`` tasks on one loop; or ``"processes"``.
        soft_limit: seconds after which a task without its own soft limit gets an exception that ends it; None or 0:
            never.
        hard_limit: seconds after which a task without a hard limit of its own is killed with its process; None or 0:
            never. Processes only.
        max_tasks_per_child: the number of tasks after which a process is replaced; None: never.
        max_memory_per_child: MiB of resident memory above which a process is replaced, once its running tasks have
            ended; None: never.
        queues: queues to read; None: the app's default queue.
        queue_order: ``"fair"``: each in turn; ``"strict"``: the first as long as it has messages; or a weight for each
            queue, 1 where none is given. Redis only.
        lease: seconds for which the worker may be silent before other workers take its messages; None: the app's.
        grace: seconds that running tasks get after the first signal; 0: none.
        log_level: one of DEBUG, INFO, WARNING, ERROR, CRITICAL; None: the app's, else INFO.
        log_format: ``"human"``, one line a record, or ``"json"``, one object a line.
        task_log_limit: tasks a second that get log lines of their own, see :class:`~.task_log.TaskLog`; 0: all.
        wait_for_broker: wait at start for an unreachable broker, instead of failing.
        consumer_tag: the beginning of the name under which this worker consumes; None: host and process id. The rest
            of the name is new at each start, to tell the deliveries of this run from those of an earlier one.
        broker, backend: URLs that win over the app's; None: the app's. ``repr`` does not show them.
        config: a YAML file for the app, see :func:`gearmesh.worker.loader.load_app`; None: there is none.
        watch: read it again every 10 s, see :meth:`gearmesh.app.app.App.watch_config`.
        with_scheduler: run a scheduler, too, in a process of its own.
        metrics_port: the port of ``/metrics``, 0 for a free one; None: metrics are not served.
        metrics_host: the address on which metrics are served.
        remote_control: listen for requests on the broker; None: as the app's setting says.

    Raises:
        ConfigError: an option is wrong.
    """

    concurrency: int = 10
    pool: Pool = "threads"
    soft_limit: float | None = None
    hard_limit: float | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    queues: tuple[str, ...] | None = None
    queue_order: QueueOrder = "fair"
    lease: float | None = None
    grace: float = 30.0
    log_level: str | None = None
    log_format: str = "human"
    task_log_limit: int = 100
    wait_for_broker: bool = False
    consumer_tag: str | None = None
    broker: str | None = field(default=None, repr=False)
    backend: str | None = field(default=None, repr=False)
    config: str | None = None
    watch: bool = False
    with_scheduler: bool = False
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    remote_control: bool | None = None

    def __post_init__(self) -> None:
        self._expect("concurrency", self.concurrency >= 1, "1 or more")
        self._expect("pool", self.pool in POOLS, f"one of {', '.join(POOLS)}")
        for name in ("soft_limit", "hard_limit"):
            limit = getattr(self, name)
            self._expect(name, limit is None or (math.isfinite(limit) and limit >= 0), "seconds, 0 or more")
        if self.hard_limit and self.pool != "processes":
            raise ConfigError(
                f"hard_limit is {self.hard_limit:g}, expected --pool processes with it: a thread cannot be killed"
            )
        self._expect("task_log_limit", self.task_log_limit >= 0, "0 or more")
        for name in ("max_tasks_per_child", "max_memory_per_child"):
            most = getattr(self, name)
            self._expect(name, most is None or most >= 1, "1 or more")
        named = self.queues is None or (bool(self.queues) and all(self.queues))
        self._expect("queues", named, "names of queues, none of them empty")
        picker_of(self.queue_order)
        lease = self.lease
        self._expect("lease", lease is None or (math.isfinite(lease) and lease > 0), "seconds above 0")
        self._expect("grace", math.isfinite(self.grace) and self.grace >= 0, "seconds, 0 or more")
        level = self.log_level
        self._expect("log_level", level is None or level in LEVELS, f"one of {', '.join(LEVELS)}")
        port = self.metrics_port
        self._expect("metrics_port", port is None or 0 <= port <= 65535, "0 to 65535")
        self._expect("log_format", self.log_format in FORMATS, f"one of {', '.join(FORMATS)}")

    def _expect(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise ConfigError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    @property
    def overrides(self) -> dict[str, str]:
        """Settings that win over the app's own."""
        given = {"broker": self.broker, "backend": self.backend}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def counts(self) -> bool:
        """True if metrics are served, for which the worker counts its tasks."""
        return self.metrics_port is not None

    @property
    def processes(self) -> int:
        """The number of processes that run tasks, before remote control resizes the worker."""
        return self.concurrency if self.pool == "processes" else 1

    @property
    def scoreboard_size(self) -> int:
        """The number of places on the scoreboard: the jobs that one process may run at a time.

        Remote control may let a process grow, up to four times.
        """
        if self.pool == "processes":
            return self.concurrency
        slots = max(GROWTH_FACTOR * self.concurrency, MIN_GROWN_SLOTS)
        return slots + (MAX_ASYNCIO_THREADS if self.pool == "asyncio" else 0)


def options_of(given: dict[str, Any]) -> WorkerOptions:
    """Make options from a JSON object."""
    return WorkerOptions(**{**given, "queues": tuple(given["queues"]) if given["queues"] else None})
