"""gearmesh.urls: reads broker, backend and lock URLs in Machinery's forms, and shows URLs without their passwords.

- ``parse`` finds the reader for a scheme: ``redis`` (also sockets, clusters and sentinels), ``amqp``, ``stores``
  (Memcache, MongoDB), ``dynamodb``, ``sqs``, ``pubsub``; it does not read the rest of a plug-in's URL.
- Each reader returns a frozen target (``RedisTarget``, ``AMQPTarget``, …), which knows the keyword arguments of the
  client libraries.
- ``given`` splits a URL into its parts and words the errors about it, ``addresses`` writes ``host:port``.
- ``hiding`` replaces passwords in URLs, and in any text that may hold one.

Begin with :func:`parse`, whose docstring has all forms. gearmesh reads each form as Go does. It refuses those that Go
reads in another way than the user meant.

Nothing here connects to a server. No error shows a password, not even one that was written in the wrong place.
"""

from gearmesh.urls.amqp import AMQP_SCHEMES, AMQPTarget
from gearmesh.urls.dynamodb import DynamoDBTarget
from gearmesh.urls.hiding import redact, redact_text
from gearmesh.urls.parse import PlainTarget, Role, Target, known_schemes, parse, scheme_of
from gearmesh.urls.pubsub import PubSubTarget
from gearmesh.urls.redis import REDIS_SCHEMES, RedisTarget
from gearmesh.urls.sqs import SQSTarget
from gearmesh.urls.stores import MemcacheTarget, MongoTarget

__all__ = [
    "AMQP_SCHEMES",
    "REDIS_SCHEMES",
    "AMQPTarget",
    "DynamoDBTarget",
    "MemcacheTarget",
    "MongoTarget",
    "PlainTarget",
    "PubSubTarget",
    "RedisTarget",
    "Role",
    "SQSTarget",
    "Target",
    "known_schemes",
    "parse",
    "redact",
    "redact_text",
    "scheme_of",
]
