"""The memory transport, ``memory://NAME``: a broker inside this process, for tests and as the contracts' reference.

It has the semantics of the Redis transport without a server. All connections and threads of one process that name a
broker share it. The broker and its messages live as long as a :class:`kombu.Connection` made for it, open or closed. A
forked child has a copy of its own.

The parts, in the order in which a message passes through them:

``transport``
    kombu's :class:`Transport`. It finds the :class:`Broker` by the URL's name and lets ``drain_events`` wait for it.
``channel``
    :class:`Channel` is kombu's channel: it publishes, fetches within its prefetch and calls the consumers. gearmesh's
    verbs (see :class:`gearmesh.interfaces.transport.Channel`) that need no channel are the broker's own methods.
``messages``
    Converts kombu's messages to stored bytes, and a delivery to the message that a consumer's callback gets.
``broker``
    :class:`Broker` carries out commits and all other verbs under one lock, releases delayed messages, and recovers the
    deliveries of consumers whose heartbeats have stopped.
``queue``
    :class:`~.queue.MemoryQueue` holds the waiting, unacked, parked and dead messages of one queue. It locks nothing.

Begin reading with :meth:`Broker.commit`; then :func:`~.channel.drain`.

The memory transport must never:

- behave unlike the contracts (:mod:`gearmesh.testing.contracts`), since users' tests take it for a real broker;
- call a consumer while the broker's lock is held, since a callback may use the broker from other threads;
- poll: ``drain_events`` waits for the broker's condition, which each change notifies.
"""

from __future__ import annotations

from gearmesh.transports.memory.broker import Broker
from gearmesh.transports.memory.channel import Channel
from gearmesh.transports.memory.transport import Transport

__all__ = ["Broker", "Channel", "Transport"]
