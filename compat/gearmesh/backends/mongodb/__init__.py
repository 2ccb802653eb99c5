"""``mongodb://…``: states in MongoDB, in Machinery's collections."""

from gearmesh.backends.mongodb.backend import MongoBackend

__all__ = ["MongoBackend"]
