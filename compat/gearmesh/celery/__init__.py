"""A Celery app among Machinery's programs: its tasks are called by Go, and call Go's, by configuration only.

``configure(app, broker=…, backend=…, go_tasks={"resize": "go_tasks"})``, or the settings that
:func:`settings` returns. Needs the extra ``gearmesh[celery]``.
"""

from gearmesh.celery.backend import Backend
from gearmesh.celery.configure import configure, settings
from gearmesh.celery.consumer import Consumer
from gearmesh.celery.errors import NotForGo
from gearmesh.celery.routes import GoTask
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
