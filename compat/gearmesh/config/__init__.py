"""gearmesh.config: the settings of an app in one frozen value, and the places where they may be set.

A Config is made of layers, of which a later one wins: defaults, Machinery's YAML file, Machinery's environment
variables, the app's code, the command line.

- ``table`` lists every setting once: its names in a file and in the environment, and its kind, which says how to read
  it from text.
- ``file`` and ``values`` read one layer each into ``Said`` values, which remember their origin. ``local`` finds the
  Redis that ``gearmesh dev`` runs in the working directory.
- ``config`` combines the layers as a ``Source``, which can be read again, makes a ``Config`` of it, and refuses names
  that would collide in the broker. ``sections`` has the parts of a Config for Redis, RabbitMQ and others.
- ``checks`` words the errors of wrong values, and ``typos`` finds the setting that a misspelt name resembles.
- ``watch`` reads the file again while a program runs.

Begin with ``table``: a new setting is a row there and a field of the Config. Machinery's names and defaults belong to
Go's configuration, so they never change here.

No error, ``repr`` or log line may show a password. Nothing here connects to a server, except that ``local`` tries the
socket of ``gearmesh dev``. This package imports only gearmesh's base modules, such as ``urls`` and ``errors``.
"""

from gearmesh.config.config import DEFAULT_EXPIRE_S, Config, NoBroker
from gearmesh.config.sections import (
    AMQPConfig,
    DynamoDBConfig,
    MongoDBConfig,
    PubSubConfig,
    RedisConfig,
    SQSConfig,
)

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
