"""The interfaces between gearmesh's parts: values and protocols, no behaviour.

A queue has three kinds of servers behind it, and each kind has one protocol. An app, a worker or a scheduler knows
these protocols only; ``transports/``, ``backends/`` and ``locks/`` implement them, and so may a package of yours.

The parts, in the order in which a task passes through them:

``commit``
    :class:`~.commit.Commit` holds all changes of one call or one delivery: states, publishes, the settling, the chord.
    :class:`~.commit.Delivery` is a message as one consumer received it, :class:`~.commit.Settle` says how it is
    settled, and an :data:`~.commit.Outcome` says how a Commit ended.
``transport``
    :class:`~.transport.Channel` has the duties of a broker: carry Commits out, keep leases, list messages. kombu's own
    interface brings the messages. Further protocols are for verbs of some brokers.
``backend``
    :class:`~.backend.Backend` keeps task states and group metas. Further protocols are for methods of some
    stores.
``listing``
    Protocols for readers that page through messages and states with bounded work, such as the dashboard.
``observer``
    A :class:`~.observer.TaskObserver` sees the life of tasks in a worker process.
``lock``
    :class:`~.lock.Lock` lets one of several schedulers send a periodic task.

Begin reading with ``commit``, then :class:`~.transport.Channel`. The contracts in :mod:`gearmesh.testing.contracts`
test these rules; ``commits/flusher.py`` shows how a channel and a backend work together.

Rules for all implementations:

- *Repeat.* After one of an object's ``connection_errors`` the caller repeats the same call, perhaps on another object
  for the same server. Each method says what a repetition does.
- *Time.* Lengths are seconds, moments are unix nanoseconds (``_ns``) or unix seconds. Two machines' clocks are never
  compared where a message could be lost or doubled by it.
- *Absence.* None means "not known" or "not there"; zero is a number.

Nothing here may import a server's client, a transport, a backend or an app, and nothing here holds state.
"""
