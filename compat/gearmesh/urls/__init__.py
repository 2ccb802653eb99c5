"""Broker, backend and lock URLs, in Machinery's forms, and how to show one without its password.

Nothing here connects to anything. No message of an error here shows a password, not even one
that was written in the wrong place.
"""

from gearmesh.urls.amqp import AMQPTarget
from gearmesh.urls.hiding import redact, redact_text
from gearmesh.urls.parse import PlainTarget, Role, Target, known_schemes, parse, scheme_of
from gearmesh.urls.redis import RedisTarget
from gearmesh.urls.stores import MemcacheTarget, MongoTarget

__all__ = [
    "AMQPTarget",
    "MemcacheTarget",
    "MongoTarget",
    "PlainTarget",
    "RedisTarget",
    "Role",
    "Target",
    "known_schemes",
    "parse",
    "redact",
    "redact_text",
    "scheme_of",
]
