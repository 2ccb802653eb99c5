"""gearmesh.cli: the command ``gearmesh``. People and scripts run workers with it, send tasks, and look at servers.

A command line passes through the package like this:

- ``root`` imports only the module of the command. It turns an expected error into one red line and an exit code.
- ``common`` and ``apps`` read the options that name servers: ``-A MODULE:APP``, ``--broker``, ``--config``. They give a
  command one ``Place``, which makes the app. ``arguments`` reads typed arguments such as ``int64:1``.
- Each command is a function. ``worker``, ``scheduler`` and ``dev`` run until they are stopped; ``inspect`` (queues,
  pending, delayed, groups), ``parked``, ``dead``, ``result``, ``tasks`` and ``periodic`` show things; ``send``,
  ``revoke`` and ``purge`` change things; ``config`` and ``demo`` explain.
- ``broker`` opens a channel for them, and :mod:`gearmesh.inspection` reads queues; ``ids`` completes UUIDs; ``waiting``
  waits for tasks; ``pending_reason`` finds out why a task is PENDING.
- ``show``, ``messages``, ``times`` and ``tables`` lay out the results, and ``output`` prints them.
- ``doctor`` runs the functions of ``checks/``, one module for each kind of server.
- ``local_redis`` is the Redis of ``dev`` and ``demo``.

Begin with ``root`` and ``inspect``. A new command is a module with a function of its name, a row in ``root.GROUPS``,
and a row in the tables of ``docs/reference/cli.md``.

Scripts read standard output, so it has data only; notes for people go to standard error. No command may print a
password. Only a command whose name or option says so may change anything. No command may import more than it needs: a
supervisor starts the worker again after each crash, and every import delays that.
"""

from gearmesh.cli.root import main

__all__ = ["main"]
