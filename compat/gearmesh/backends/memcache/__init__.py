"""``memcache://host:port,…``: states in memcached, on the servers where Go looks for them.

- ``backend``: :class:`MemcacheBackend`, with the methods of every backend. It changes a value by compare-and-set, since
  other workers write too.
- ``servers``: finds the server of a key as Go's client does, and keeps connections to each.
- ``keys``: checks keys, of which memcached refuses some.

Begin with ``MemcacheBackend.write``. A key must go to the server that Go's client chooses, or Go cannot read it.
"""

from gearmesh.backends.memcache.backend import MemcacheBackend

__all__ = ["MemcacheBackend"]
