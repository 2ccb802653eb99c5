"""Settings of RabbitMQ."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget

__all__ = ["AMQPConfig"]

#: Seconds that RabbitMQ allows for the life of a queue or of a message: ten years of 365 days.
MAX_EXPIRY_S: Final = 315_360_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AMQPConfig:
    """Machinery's AMQP settings, by its names, then our own.

    Machinery's settings decide on declarations and routing, so both sides of a deployment must agree on them.

    Attributes:
        exchange: the exchange that all messages go through.
        exchange_type: ``"direct"``, ``"topic"``, ``"fanout"`` or a type of a plugin.
        queue_declare_args: arguments of the queues that workers read, e.g. ``{"x-max-priority": 10}``.
        queue_binding_args: arguments of their bindings.
        binding_key: the key that binds the default queue.
        prefetch_count: the number of unacked deliveries of a Go worker; 0: no limit. gearmesh's workers ignore it.
        auto_delete: RabbitMQ deletes a queue with its last consumer.
        delayed_queue: name of the one queue for delayed messages; ``""``: the delay queues that all share.
        delay_steps: without effect; it rounded delays when each duration had a queue.
        heartbeat: seconds; RabbitMQ gives up a connection that was silent for two to three times as long.
            0: never.
        ca: file with the authorities that may sign the server's certificate (``amqps://``); ``""``: the system's.
        cert: file with the client's certificate and those that lead to its CA; ``""``: none.
        key: file with its private key; ``""``: it is in ``cert``.
    """

    exchange: str = "machinery_exchange"
    exchange_type: str = "direct"
    queue_declare_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    queue_binding_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    binding_key: str = "machinery_task"
    prefetch_count: int = 3
    auto_delete: bool = False
    delayed_queue: str = ""
    delay_steps: int = 0
    heartbeat: int = 60
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def max_delay(self) -> float:
        """Seconds for which RabbitMQ can delay a message.

        Go: the queue of one duration lives twice as long as its messages wait, so Go can wait for half of what
        RabbitMQ allows.
        """
        return MAX_EXPIRY_S if self.delayed_queue else MAX_EXPIRY_S / 2

    def connection(self, target: AMQPTarget) -> dict[str, Any]:
        """Keyword arguments of ``amqp.Connection``. Raises ConfigError, see :meth:`tls_options`."""
        options = target.to_amqp()
        return options | {"ssl": self.tls_options(target.host)} if target.tls else options

    def tls_options(self, host: str) -> dict[str, Any]:
        """The TLS options of py-amqp: certificates are checked, and the host's name in them.

        Raises:
            ConfigError: a file cannot be read, or holds no certificate or key.
        """
        try:  # py-amqp would make a context itself, and its errors do not name the wrong file
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as exc:
            files = ", ".join(filter(None, (self.ca, self.cert, self.key)))
            raise ConfigError(f"amqp.ca, amqp.cert or amqp.key ({files}): {exc}") from exc
        return {
            "ca_certs": self.ca or None,
            "certfile": self.cert or None,
            "keyfile": self.key or None,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": host,
        }
