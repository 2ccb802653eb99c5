"""Results in RabbitMQ, in Machinery's layout: a queue for each task and each group, a message for each state.

- ``backend``: :class:`AMQPBackend`, with the methods of every backend. ``layout``: names and arguments of the queues,
  which Go declares, too.
- ``states``: writes and reads the states of tasks. A read takes messages from a queue and requeues them. It remembers
  the states that it has read, in case another reader holds their messages.
- ``group_meta``: stores the list of a group's members, which only gearmesh does. ``group_claims``: counts the final
  states of a group and claims them for the member that fires its chord; its header says how it avoids races with Go.
- ``announcing``: announces final states, so that callers need not poll. ``connection_pool``: connections for many
  threads, with several methods on their way at a time.

Begin with ``states.States.write`` and, for chords, with the header of ``group_claims``. Go deletes the queue of a
group that it has counted as complete, even if messages are missing by then: a worker must never let Go count a group
that it has begun to take.
"""

from gearmesh.backends.amqp.backend import AMQPBackend

__all__ = ["AMQPBackend"]
