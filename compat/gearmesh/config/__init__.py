"""gearmesh.config: the settings of an app, in one frozen value, and the places that may give them.

A Config is made of layers, of which the later one wins: defaults, Machinery's YAML file, Machinery's environment
variables, the app's code, the command line.

- ``table`` lists every setting once: its names in a file and in the environment, and its kind, which says how to read
  it from text.
- ``file`` and ``values`` read one layer each into ``Said`` values, which remember their origin. ``local`` finds the
  Redis that ``gearmesh dev`` runs in the working directory.
- ``config`` puts the layers together as a ``Source``, which can be read again, makes a ``Config`` of it, and refuses
  names that would meet in the broker. ``sections`` has the parts of a Config for Redis, RabbitMQ and others.
- ``checks`` words the errors of wrong values, and ``typos`` finds the setting that a misspelt name means.
- ``watch`` reads the file again while a program runs.

Begin with ``table``: a new setting is a row there and a field of the Config. Machinery's names and defaults are facts
of Go's configuration and stay as they are.

No error, ``repr`` or log line may show a password, nothing here connects to a server, and this package imports none of
gearmesh but ``urls``, ``errors`` and the like.
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
