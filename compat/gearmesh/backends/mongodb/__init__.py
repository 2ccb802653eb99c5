"""``mongodb://…``: states in MongoDB, in Machinery's collections.

- ``backend``: :class:`MongoBackend`, with the methods of every backend. ``connection``: the client, and the errors
  after which a call may be repeated.
- ``documents``: states and groups as documents, as Go and gearmesh write them. ``values``: results in BSON.
- ``revocations``: revoked tasks, which each watch reads twice a second.

Begin with ``documents``. gearmesh must read the documents that Go writes, and Go must read those of gearmesh.
"""

from gearmesh.backends.mongodb.backend import MongoBackend

__all__ = ["MongoBackend"]
