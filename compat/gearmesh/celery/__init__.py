"""gearmesh.celery: makes a Celery app one of Machinery's programs, by configuration alone. Needs ``gearmesh[celery]``.

``configure(app, broker=…, backend=…, go_tasks={"resize": "go_tasks"})``, or the settings that :func:`settings`
returns, put four parts of this package into an app: a transport, a result backend, a consumer and a bridge. The app's
tasks are then called by Go and call Go's.

The way of a call out of the app:

- ``transport`` takes the message of Celery's protocol 2 from kombu; ``content`` reads it as a ``TaskMessage``.
- ``outgoing`` decides by ``routes`` and the app's own queues whether Go or Celery runs it, and writes the signature in
  the form of that reader. ``codec`` converts a call for Celery, ``values`` its arguments.
- ``transport`` commits the signature with its PENDING state.

The way into a worker:

- ``transport`` gets a signature from a gearmesh channel; ``codec`` and ``content`` make protocol 2 of it. On RabbitMQ
  ``event_loop`` makes the connection a part of kombu's loop.
- ``consumer`` parks or dead-letters a message that this worker cannot run.
- ``backend`` stores how the task ended (``meta``, ``results``), tells ``chords`` (``membership`` says which group), and
  sends what follows; ``result_waiting`` waits for others.

What follows a task:

- ``step_types`` has the two kinds of steps that Celery lacks, and ``canvas`` their classes.
- ``helper_tasks`` are the three tasks that Go sends to a Celery worker where Machinery has no words for a step.

``bridge`` is the centre: the settings as they are at the first use (``checks``), gearmesh's backend, the groups.
``setup`` gives an app its bridge. Begin with ``outgoing`` for what Go reads; users begin
with ``docs/howto/celery.md``.

No module here may change a message that is no task (remote control, events, replies), nor send anything that its
reader would read differently from what the caller meant: that is a :class:`NotForGo` or a ConfigError before the send.
"""

from gearmesh.celery.backend import Backend
from gearmesh.celery.consumer import Consumer
from gearmesh.celery.errors import NotForGo
from gearmesh.celery.routes import GoTask
from gearmesh.celery.setup import configure, settings
from gearmesh.celery.transport import AMQPTransport, MemoryTransport, Transport

__all__ = [
    "AMQPTransport",
    "Backend",
    "Consumer",
    "GoTask",
    "MemoryTransport",
    "NotForGo",
    "Transport",
    "configure",
    "settings",
]
