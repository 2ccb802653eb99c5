"""Reads the state of a task or workflow for a caller, and waits for its value.

- ``client``: the part of an app that results use, as a protocol. The package does not know App.
- ``async_result``: ``Result`` reads and waits for all kinds of results; ``AsyncResult`` is the result of one task.
- ``composite``: results of chains, groups and chords. ``as_completed``: their members in the order in which they end.
- ``wait_handle``: the UUIDs that one caller waits for, and the time to read them again: the pause grows with the time
  waited, so the caller notices no result more than 2% late.
- ``poller``: one thread for all callers of a process. It reads the states of all callers whose pause is over in one
  request, and those that a worker announces at once.
- ``failures``: the record with an exception's type and traceback beside a FAILURE. ``progress``: reports of running
  tasks.

Begin with ``Result._wait``. Sync and async waiting share their steps (``Result._steps``,
``AsCompleted._steps``; ``wait_handle.take_steps`` and ``atake_steps`` take them). An
announcement is only a shortcut: Go announces nothing, so waiting must never depend on it.
"""
