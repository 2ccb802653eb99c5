"""How a worker is to run: what the command line says, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gearmesh.errors import ConfigError

__all__ = ["WorkerOptions"]

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("human", "json")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """Settings of one ``gearmesh worker``.

    Attributes:
        concurrency: tasks that run at a time; 1 or more.
        queues: queues to read; None: the app's default queue.
        lease: seconds for which the worker may be silent before others take what it held;
            None: the app's.
        grace: seconds that running tasks get after the first signal; 0: none.
        log_level: one of DEBUG, INFO, WARNING, ERROR, CRITICAL.
        log_format: ``"human"``, one line a record, or ``"json"``, one object a line.
        wait_for_broker: wait at start for a broker that is away, instead of failing.
        consumer_tag: the name this worker consumes under; None: a fresh one each start.

    Raises:
        ConfigError: naming the option, its value and what was expected.
    """

    concurrency: int = 10
    queues: tuple[str, ...] | None = None
    lease: float | None = None
    grace: float = 30.0
    log_level: str = "INFO"
    log_format: str = "human"
    wait_for_broker: bool = False
    consumer_tag: str | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"concurrency is {self.concurrency}, expected 1 or more")
        if self.queues is not None and not (self.queues and all(self.queues)):
            raise ConfigError(f"queues is {self.queues!r}, expected names of queues, none of them empty")
        if self.lease is not None and not (math.isfinite(self.lease) and self.lease > 0):
            raise ConfigError(f"lease is {self.lease}, expected seconds above 0")
        if not (math.isfinite(self.grace) and self.grace >= 0):
            raise ConfigError(f"grace is {self.grace}, expected seconds, 0 or more")
        if self.log_level not in LOG_LEVELS:
            raise ConfigError(f"log_level is {self.log_level!r}, expected one of {', '.join(LOG_LEVELS)}")
        if self.log_format not in LOG_FORMATS:
            raise ConfigError(f"log_format is {self.log_format!r}, expected one of {', '.join(LOG_FORMATS)}")
