"""gearmesh.testing: the tools with which a project tests its own tasks, its Go service, and its plug-ins.

They are public, and the project's own tests use the same ones:

- ``plugin``: the pytest plugin, whose fixtures put an app on an in-memory broker. ``controlled_broker`` is that broker:
  its clock stands still until the test moves it, and it loses replies or workers on demand. ``broker_kit`` is what a
  test asks of it.
- ``contracts``: the suites that a transport, a result backend or a lock must pass. A test class subclasses one and
  says how to open the thing.
- ``peerproc``: ``PeerProcess`` starts a program that speaks the peer's protocol (``docs/howto/interop.md``) and talks
  to it; ``peer`` is the Python program of that kind: ``python -m gearmesh.testing.peer``.
- ``proxy``: ``Proxy`` stands before a server and cuts connections, loses replies or delays them.
- ``servers``: ``RedisServer`` starts a redis-server on a free port, to be killed, paused and restarted.
- ``clocks``: ``SimulatedTime`` lets a scheduler's day pass in milliseconds.
- ``waiting``: ``eventually`` awaits a condition.

Begin with ``contracts/__init__.py`` for a plug-in, and with ``peerproc.py`` for a Go service. Launchers of the other
servers, which only this project's tests need, are in ``tests/support/``.

No other package imports this one, and nothing here may be needed to run a task.
"""
