"""Contain one module for each task queue, by which ``drive.py`` and the suite use it.

Each has a task ``add``; ``publish(count)`` calls it one by one, ``trip()`` calls it and awaits the result; ``WORKERS``
has the command lines of workers by the names of the table, and ``waiting(client)`` counts the tasks that no worker has
taken. The server is in ``GEARMESH_BENCH_URL``. Results are kept; all else is as the task queue has it by default.
"""
