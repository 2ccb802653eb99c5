"""gearmesh.testing: the tools with which a project tests its own tasks, its Go service, and its plug-ins.

They are public, and gearmesh's own tests use them, too:

- ``plugin``: the pytest plugin, whose fixtures put an app on an in-memory broker. ``controlled_broker`` is that broker:
  its clock stands still until the test moves it, and it loses replies or workers on demand. ``broker_kit`` has the
  methods by which a test uses it.
- ``contracts``: the suites that a transport, a result backend or a lock must pass. A test class subclasses one and
  provides a fixture that opens the tested object.
- ``peerproc``: ``PeerProcess`` starts a program that speaks the peer's protocol (``docs/howto/interop.md``) and talks
  to it; ``peer`` is such a program in Python: ``python -m gearmesh.testing.peer``.
- ``proxy``: ``Proxy`` stands between a client and a server, and cuts connections, loses replies or delays them.
- ``servers``: ``RedisServer`` starts a redis-server on a free port, which a test can kill, pause and restart.
- ``clocks``: ``SimulatedTime`` lets a scheduler's day pass in milliseconds.
- ``waiting``: ``eventually`` awaits a condition.

Begin with ``contracts/__init__.py`` for a plug-in, and with ``peerproc.py`` for a Go service. Launchers of the other
servers, which only gearmesh's own tests need, are in ``tests/support/``.

No other package may import this one, and no program may need it to run a task.
"""
