"""Runs tasks: takes deliveries from the broker, runs them, and commits their outcomes.

A worker is one process under a small supervisor (``gearmesh worker``), or an object in a program's own process
(:class:`Worker`). A delivery passes through three kinds of threads in it:

1. The **intake** (``intake.py``) fetches a delivery and decodes it to a ``Job`` (``job.py``), which the ``JobTable``
   holds until the delivery is settled. The intake gives the job to the executor, unless it must wait or must not run:
   ``duplicates.py`` keeps possible duplicates back, ``quarantine.py`` runs each job alone that may have killed a
   process, ``unrunnable.py`` settles messages that can't be decoded or whose task is not registered here.
2. The **executor** (protocol in ``executor.py``; ``threads.py``, ``coroutines.py``) runs the job in one of its slots.
   There the ``Runner`` (``runner.py``) calls the task and makes the ``Commit`` with its state, its result, and the
   messages that follow. A redelivered task that had finished is resumed by its prior outcome (``prior_outcome.py``).
   ``event_loop.py`` runs ``async def`` tasks for threads, ``limits.py`` interrupts late jobs, and ``task_log.py``
   writes the lines about each task.
3. The **committer** (``committer.py``) flushes the Commits of all jobs, many at a time. Once a delivery is settled the
   job leaves the table, and the committer reports by ``events.py`` that the intake may fetch more.

Above them, in the parent process: ``startup.py`` has the ``Spawner`` (``spawner.py``) start the first child, a
``WorkerChild`` (``worker_child.py``, ``child_process.py``), and then loads the app at the same time as the child. The
**supervisor** (``supervisor.py``) keeps ``ManagedProcess`` objects running (``managed_process.py``;
``worker_process.py`` has those that run tasks), until ``stop_signals.py`` counts a signal. Its **heartbeater**
(``heartbeater.py``) sends heartbeats for the children and recovers the deliveries of dead ones. In the child, which
begins in ``child.py``, ``supervised_worker.py`` obeys the orders that come through ``control.py``; ``forked.py`` keeps
the worker out of processes that tasks fork.

The supervisor has ``monitor.py`` add up the reports of its processes (``reporter.py``, ``report_pipe.py``), and
``control_server.py`` take requests (:mod:`gearmesh.control`), which ``commands.py`` carries out: orders (``orders.py``)
go to all processes of its ``fleet.py``. ``observers.py`` calls the observers of tasks.

Begin with ``worker.py``, which puts the parts together, then read the three parts in the order above.

Never: settle a delivery in another way than by a Commit through the committer; let an exception out of the runner; give
a thread another thread's channel; log or lock for each task on the way from the intake to the committer.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearmesh.worker.worker import Worker

__all__ = ["Worker"]

if not TYPE_CHECKING:

    def __getattr__(name):
        if (
            name == "Worker"
        ):  # a supervisor, which needs none, starts its first process before it imports more
            from gearmesh.worker.worker import Worker

            return Worker
        raise AttributeError(f"module 'gearmesh.worker' has no attribute {name!r}")
