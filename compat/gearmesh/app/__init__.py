"""The package that a user imports: apps, tasks, signatures, workflows, and the way of a call to the broker.

The parts, in the order in which a call passes through them:

- ``app``: :class:`App`, the list of everything that an app can do. It composes the parts below.
- ``decorator``, ``settings``, ``late``: ``@app.task`` makes a function a :class:`~.task.Task`; ``late`` binds the
  tasks of modules that do not import the app.
- ``task``: ``delay`` and ``apply_async``. ``options``: queue, time, priority, retries, as values that are checked.
- ``canvas``: signatures, chains, groups and chords, which never change.
- ``plan``: all signatures, group metas and PENDING states that sending a workflow takes. It is built from the end,
  since a signature holds its successors, and it is checked before a byte leaves. Most calls of one task skip the
  signature: the task's encoded template is filled in.
- ``publishing``: calls the hooks, stores group metas and PENDING states where they have to be there first, and makes a
  Commit of each message. ``unique``: the same call is not queued twice within ``unique_for``.
- ``publisher``: hands Commits to the broker in batches (``in_flight``), and repeats them until ``publish_timeout`` is
  over (``until_timeout``). ``combiner``: the calls that threads and coroutines make at the same moment go in one batch
  (``combined_batch``), for each of which a ``pending_call`` waits. ``publisher_pool``: the connections that it uses.
  ``eager``: runs tasks in the caller instead.

Beside the way of a call: ``periodic`` (entries for schedulers), ``retry`` (policies), ``revocations``, ``handlers``
(functions around each task), ``context`` (the running task), ``conf`` (settings by Celery's names), ``capabilities``
(the parts of an app that the other objects use, as protocols: nothing here but ``app`` imports ``App``).

Begin with ``task.Task.delay`` and follow ``send_call``. A plan must be complete and checked before anything is sent: a
workflow is sent whole or not at all.
"""
