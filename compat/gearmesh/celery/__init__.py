"""gearmesh.celery: lets a Celery app and Go programs call each other's tasks, by settings. Needs ``gearmesh[celery]``.

``configure(app, broker=…, backend=…, go_tasks={"resize": "go_tasks"})``, or the settings that :func:`settings`
returns, put four parts of this package into an app: a transport, a result backend, a consumer and a bridge. Go programs
can then call the app's tasks, and the app can call Go's.

A call leaves the app in three steps:

- ``transport`` takes the message of Celery's protocol 2 from kombu; ``content`` reads it as a ``TaskMessage``.
- ``outgoing`` decides by ``routes`` and the app's own queues whether Go or Celery runs it, and writes the signature in
  the form of that reader. ``codec`` converts a call for Celery, ``values`` its arguments.
- ``transport`` commits the signature with its PENDING state.

A call enters a Celery worker like this:

- ``transport`` gets a signature from a gearmesh channel; ``codec`` and ``content`` make protocol 2 of it. On RabbitMQ
  ``event_loop`` makes the connection a part of kombu's loop.
- ``consumer`` parks or dead-letters a message that this worker cannot run.
- ``backend`` stores how the task ended (``meta``, ``results``), tells ``chords`` (``membership`` finds the group), and
  sends the next tasks; ``result_waiting`` waits for other tasks to end.

A task is followed by the steps of its workflow:

- ``step_types`` names the two kinds of steps that Celery lacks, and ``canvas`` has their classes.
- ``helper_tasks`` has the three tasks that Go sends to a Celery worker if Machinery cannot express a step.

``bridge`` is the centre: it keeps the settings as they are at the first use (``checks``), gearmesh's backend and the
groups. ``setup`` gives an app its bridge. Begin with ``outgoing`` to see the signatures that Go reads; users begin with
``docs/howto/celery.md``.

No module here may change a message that is not a task (remote control, events, replies). No module may send a call that
its reader would understand differently from the caller: raise :class:`NotForGo` or ConfigError before the send.
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
