"""Defines apps, tasks, signatures and workflows, and sends calls to the broker.

The parts, in the order in which a call passes through them:

- ``app``: :class:`App`, the list of everything that an app can do. It composes the parts below.
- ``decorator``, ``settings``, ``late``: ``@app.task`` makes a function a :class:`~.task.Task`; ``late`` binds the
  tasks of modules that do not import the app.
- ``task``: ``delay`` and ``apply_async``. ``options``: queue, time, priority, retries, as values that are checked.
- ``canvas``: signatures, chains, groups and chords, which never change.
- ``plan``: makes all signatures, group metas and PENDING states that a workflow needs. It begins at the end, since a
  signature holds its successors, and checks everything before a byte is sent. Most calls of one task need no
  signature: the plan fills in the task's encoded template.
- ``publishing``: calls the hooks, stores group metas and PENDING states if they must be stored before the messages,
  and makes a Commit of each message. ``unique``: keeps a call from being queued twice within ``unique_for``.
- ``publisher``: hands Commits to the broker in batches (``in_flight``), and repeats them until ``publish_timeout`` is
  over (``until_timeout``). ``combiner``: puts the calls that threads and coroutines make at the same moment into one
  batch (``combined_batch``); each caller waits for its ``pending_call``. ``publisher_pool``: lends the connections.
  ``eager``: runs tasks in the caller instead.

Other parts: ``periodic`` (entries for schedulers), ``retry`` (policies), ``revocations``, ``handlers`` (functions
around each task), ``context`` (the running task), ``conf`` (settings by Celery's names), ``capabilities`` (protocols
for the parts of an app that other objects use, so that no module but ``app`` imports ``App``).

Begin with ``task.Task.delay`` and follow ``send_call``. A plan must be complete and checked before anything is sent: a
workflow is sent whole or not at all.
"""
