"""Sends requests to running workers over the broker: to report their tasks, to pause, to stop, to grow.

A request passes through these parts:

1. ``client.py``: the :class:`~.client.ControlClient` of the command line or the dashboard sends a
   :class:`~.messages.Request` to all workers, and collects their :class:`~.messages.Reply` values.
2. ``line.py``: a :class:`~.line.ControlLine` carries both. On Redis it is pub/sub (``redis_line.py``), on RabbitMQ a
   fanout exchange (``amqp_line.py``); other brokers have none.
3. ``messages.py``: a worker checks a request against the list of verbs. Their number is fixed, their arguments are
   words and numbers, and nothing from the wire is run or imported.
4. ``worker/control_server.py`` takes requests in the supervisor, which carries them out or passes an order on to its
   processes (``worker/control.py``).

Begin reading with ``messages.py``.

A worker listens unless the setting ``remote_control`` is off. All users of the broker may then send requests: they can
send any task and delete any message as well, so a request has no signature of its own. Redis keeps the names of paused
queues and tasks for workers that start later; RabbitMQ has no place for them.

Never: add a verb that takes code, a path or a name to import; wait for all workers, since their number is not known.
"""
