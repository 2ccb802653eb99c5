"""Real servers for tests: on a free port of 127.0.0.1, in a temporary folder, ended by process id.

::

    with RedisServer(aof="always") as server:
        app = App(broker=server.url, backend=server.url)
        server.kill()      # SIGKILL, as a power cut would
        server.restart()   # the same port and data
"""

from gearmesh.testing.servers.base import Server, ServerMissing, free_port
from gearmesh.testing.servers.certificates import Certificates
from gearmesh.testing.servers.memcached import MemcachedServer, find_memcached
from gearmesh.testing.servers.mongodb import MongoServer, find_mongod
from gearmesh.testing.servers.rabbitmq import RabbitServer, find_rabbitmq
from gearmesh.testing.servers.redis import RedisServer, embedded_redis_server, find_redis_server
from gearmesh.testing.servers.redis_group import RedisCluster, RedisSentinels

__all__ = [
    "Certificates",
    "MemcachedServer",
    "MongoServer",
    "RabbitServer",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "Server",
    "ServerMissing",
    "embedded_redis_server",
    "find_memcached",
    "find_mongod",
    "find_rabbitmq",
    "find_redis_server",
    "free_port",
]
