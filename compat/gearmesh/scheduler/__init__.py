"""What runs periodic tasks: ``gearmesh scheduler``, ``gearmesh worker --with-scheduler``."""

from gearmesh.scheduler.clock import Clock, SystemClock
from gearmesh.scheduler.scheduler import Scheduler

__all__ = ["Clock", "Scheduler", "SystemClock"]
