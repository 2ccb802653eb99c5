"""Settings: one frozen value for all of an app's, and the ways to say them."""

from gearmesh.config.amqp import AMQPConfig
from gearmesh.config.cloud import DynamoDBConfig, PubSubConfig, SQSConfig
from gearmesh.config.config import DEFAULT_EXPIRE_S, Config, NoBroker
from gearmesh.config.mongodb import MongoDBConfig
from gearmesh.config.redis import RedisConfig

__all__ = [
    "DEFAULT_EXPIRE_S",
    "AMQPConfig",
    "Config",
    "DynamoDBConfig",
    "MongoDBConfig",
    "NoBroker",
    "PubSubConfig",
    "RedisConfig",
    "SQSConfig",
]
