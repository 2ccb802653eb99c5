"""Transports: how gearmesh sends messages to a broker, gets them, and settles them.

A transport is a kombu transport whose channels have the verbs of :class:`gearmesh.interfaces.transport.Channel`. An
app's publisher and a worker use nothing of a transport but kombu's interface and these verbs.

The parts, in the order in which a connection is made and a message passes:

``registry``
    Makes a kombu connection from a broker URL or from an app's settings. A package of yours adds a scheme here by an
    entry point in the group ``gearmesh.transports``.
``broker_choice``
    Remembers which of several brokers a process uses.
``single_attempt``
    The connection itself. It tries each of several brokers once and raises, where kombu would sleep and repeat.
``redis``, ``amqp``, ``sqs``, ``pubsub``, ``memory``
    One package for each kind of broker: its transport, its channel and their parts.
``queue_order``
    Says from which of several queues a channel takes next.
``unacked``
    Records the deliveries that a consumer has not settled. It outlives channels, so a worker that reconnects goes on.
``journal``, ``crash_counts``
    A file by which a supervisor settles the deliveries of a dead process, where the broker keeps no such record; and
    the rule by which a death counts against messages.
``rate_limit``
    Reserves moments for tasks with a rate, on brokers that cannot count for all workers.

Begin reading with ``memory``, which is the smallest complete transport, and its package's map.

A transport must never:

- settle a message, or send the messages of a Commit, outside of ``commit``;
- import an app, a worker or a result backend; ``enlist`` asks a backend for the methods that the channel needs;
- wait longer than its caller allows, or sleep between attempts: the callers have their own backoff;
- write a password into a log or an error.
"""
