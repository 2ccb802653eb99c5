"""``mongodb://…``: states in MongoDB, in Machinery's collections.

- ``backend``: :class:`MongoBackend`, the verbs. ``connection``: the client, and which of its errors are worth another
  try.
- ``documents``: states and groups as documents, as Go and gearmesh write them. ``values``: results in BSON.
- ``revocations``: revoked tasks, for which each watch looks twice a second.

Begin with ``documents``. A document that Go wrote must be readable, and Go must be able to read ours.
"""

from gearmesh.backends.mongodb.backend import MongoBackend

__all__ = ["MongoBackend"]
