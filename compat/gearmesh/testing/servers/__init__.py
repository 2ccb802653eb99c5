"""Real servers for tests: on a free port of 127.0.0.1, in a temporary folder, ended by process id.

::

    with RedisServer(aof="always") as server:
        app = App(broker=server.url, backend=server.url)
        server.kill()      # SIGKILL, as a power cut would
        server.restart()   # the same port and data
"""

from gearmesh.testing.servers.base import Server, ServerMissing, free_port
from gearmesh.testing.servers.redis import RedisServer, embedded_redis_server, find_redis_server

__all__ = [
    "RedisServer",
    "Server",
    "ServerMissing",
    "embedded_redis_server",
    "find_redis_server",
    "free_port",
]
