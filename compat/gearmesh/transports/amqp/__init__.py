"""Machinery's AMQP broker as a kombu transport: py-amqp's connections and channels, with gearmesh's verbs."""

from gearmesh.transports.amqp.transport import Transport

__all__ = ["Transport"]
