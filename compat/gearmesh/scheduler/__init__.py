"""Sends periodic tasks when they are due: ``gearmesh scheduler``, or ``gearmesh worker --with-scheduler``.

The way of a periodic task, from the clock to the broker:

1. ``clock.py`` reads the wall clock and the steady clock at one moment, and sleeps until something is due.
2. The **timetable** (``timetable.py``) finds the firings that are due and those that were missed. It has no thread and
   does not wait, so that tests give it any clock.
3. The **scheduler** (``scheduler.py``) runs the loop over both, and hands each firing to the pool.
4. The **pool** (``pool.py``) has threads for calls that wait for a server. Such a call first takes the lock, so that
   one of several schedulers sends the firing, and then has the app send the task.

``child.py`` runs a scheduler as a process: under a supervisor, or for the command. ``monitor.py`` tells probes and
systemd that its loop goes round.

Begin with ``Scheduler`` and ``Timetable.look``.

Never: send before the lock is taken; wait for a server in the loop's thread; read a clock in the timetable; send a
firing whose task is due again already.
"""

from gearmesh.scheduler.clock import Clock, SystemClock
from gearmesh.scheduler.scheduler import Scheduler

__all__ = ["Clock", "Scheduler", "SystemClock"]
