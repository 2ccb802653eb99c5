"""Results in RabbitMQ, in Machinery's layout: a queue for each task and each group, a message for each state."""

from gearmesh.backends.amqp.backend import AMQPBackend

__all__ = ["AMQPBackend"]
