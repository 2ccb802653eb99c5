"""The servers that this project's tests start: each a process on a free port, with its data in a temporary folder.

:class:`RedisServer` adds TLS to the one that users have (:mod:`gearmesh.testing.servers`); the other launchers
are of use for the project's own tests alone.
"""

from tests.support.servers.certificates import Certificates
from tests.support.servers.dynamodb import DynamoDBServer
from tests.support.servers.elasticmq import ElasticMQServer
from tests.support.servers.memcached import MemcachedServer, find_memcached
from tests.support.servers.mongodb import MongoServer, find_mongod
from tests.support.servers.pubsub import PubSubServer, find_pubsub
from tests.support.servers.rabbitmq import RabbitServer, find_rabbitmq
from tests.support.servers.redis import RedisServer
from tests.support.servers.redis_group import RedisCluster, RedisSentinels

from gearmesh.testing.servers import Server, ServerMissing, free_port

__all__ = [
    "Certificates",
    "DynamoDBServer",
    "ElasticMQServer",
    "MemcachedServer",
    "MongoServer",
    "PubSubServer",
    "RabbitServer",
    "RedisCluster",
    "RedisSentinels",
    "RedisServer",
    "Server",
    "ServerMissing",
    "find_memcached",
    "find_mongod",
    "find_pubsub",
    "find_rabbitmq",
    "free_port",
]
