"""Settings: one frozen value for all of an app's."""

from gearmesh.config.amqp import AMQPConfig
from gearmesh.config.config import DEFAULT_EXPIRE, Config

__all__ = ["DEFAULT_EXPIRE", "AMQPConfig", "Config"]
