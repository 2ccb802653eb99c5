"""gearmesh.cli: the command ``gearmesh``. People and scripts run workers with it, send tasks, and look at servers.

The way of a command line through the package:

- ``root`` finds the module of the command and imports it alone; an expected error becomes one red line there, with an
  exit code.
- ``common`` and ``apps`` read the options that say where: ``-A MODULE:APP``, ``--broker``, ``--config``. They give a
  command one ``Place``, which makes the app. ``arguments`` reads typed arguments such as ``int64:1``.
- Each command is a function. ``worker``, ``scheduler`` and ``dev`` run until they are stopped; ``inspect`` (queues,
  pending, delayed, groups), ``parked``, ``dead``, ``result``, ``tasks`` and ``periodic`` look; ``send``, ``revoke`` and
  ``purge`` change; ``config`` and ``demo`` explain.
- ``broker`` opens a channel for them; reading, and the app's queues, are :mod:`gearmesh.inspection`'s;
  ``ids`` completes UUIDs; ``waiting`` waits for tasks; ``pending_reason`` finds out why a task is PENDING.
- ``show``, ``messages``, ``times`` and ``tables`` lay out what was found, and ``output`` prints it.
- ``doctor`` runs the functions of ``checks/``, one module for each kind of server.
- ``local_redis`` is the Redis of ``dev`` and ``demo``.

Begin with ``root`` and ``inspect``. A new command is a module with a function of its name, a row in ``root.GROUPS``,
and a row in the tables of ``docs/reference/cli.md``.

Standard output is data and standard error is for people, so a script can read the first. No command may print a
password, change anything without a word that says so, or import more than it needs: a supervisor starts again after
each crash.
"""

from gearmesh.cli.root import main

__all__ = ["main"]
