"""``memcache://host:port,…``: states in memcached, on the servers where Go looks for them."""

from gearmesh.backends.memcache.backend import MemcacheBackend

__all__ = ["MemcacheBackend"]
