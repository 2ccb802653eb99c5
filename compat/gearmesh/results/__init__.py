"""Results: a caller looks at the state of a task or workflow, and waits for its value.

- ``client``: the part of an app that results use, as a protocol. The package does not know App.
- ``async_result``: ``Result`` has looking and waiting for all kinds of results; ``AsyncResult`` is that of one task.
- ``composite``: results of chains, groups and chords. ``as_completed``: their members in the order in which they end.
- ``wait_handle``: the UUIDs that one caller waits for, and when to ask for them again: the pause grows with the time
  waited, so no result is noticed more than 2% late.
- ``poller``: one thread for all callers of a process, which asks the backend once for all whose time has come, and at
  once for those that a worker announces.
- ``failures``: the record with an exception's type and traceback beside a FAILURE. ``progress``: reports of running
  tasks.

Begin with ``Result._wait``. Sync and async waiting share their steps (``Result._steps``,
``AsCompleted._steps``; ``wait_handle.take_steps`` and ``atake_steps`` take them). An
announcement is only a shortcut: Go announces nothing, so waiting must never depend on it.
"""
