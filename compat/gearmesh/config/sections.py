"""The sections of a Config: the settings of Redis, of RabbitMQ, of MongoDB, and of hosted services.

gearmesh accepts the settings of hosted services, which Machinery has.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget

__all__ = ["AMQPConfig", "DynamoDBConfig", "MongoDBConfig", "PubSubConfig", "RedisConfig", "SQSConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisConfig:
    """Machinery's Redis settings, by its names, and ours after them.

    Machinery's ``delayed_tasks_key`` and ``delayed_tasks_poll_period`` are
    ``Config.delayed_tasks_key`` and ``Config.delayed_poll``.

    Attributes:
        read_timeout: seconds for an answer; 0: no limit.
        write_timeout: seconds for sending; 0: no limit. See :attr:`socket_timeout`.
        connect_timeout: seconds for a connection; 0: no limit.
        client_name: the name that connections give to the server; ``""``: none.
        master_name: the name by which sentinels, the URL's hosts, know the master; ``""``: no sentinels.
        cluster_enabled: the URL's one host is a cluster's. Several hosts are a cluster without it.
        sentinel_password: the password of the sentinels themselves; ``""``: none. Left out of ``repr``.
        max_idle, max_active, max_idle_timeout, wait: of Go's pool. Accepted; nothing here depends on them.
        normal_tasks_poll_period: milliseconds. Accepted; idle workers here are woken by the server.
        ca: file of the certificates that ``rediss://`` trusts; ``""``: the system's.
        cert: file of this client's certificate; ``""``: none.
        key: file of its key; ``""``: it is in ``cert``.
        replicas_ack: the number of replicas that must have a write before it counts as done; 0: none.
        replicas_ack_timeout: seconds to wait for them before the write is repeated; above 0.
    """

    read_timeout: float = 15
    write_timeout: float = 15
    connect_timeout: float = 15
    client_name: str = ""
    master_name: str = ""
    cluster_enabled: bool = False
    sentinel_password: str = field(default="", repr=False)
    max_idle: int = 3
    max_active: int = 0
    max_idle_timeout: float = 240
    wait: bool = False
    normal_tasks_poll_period: int = 1000
    ca: str = ""
    cert: str = ""
    key: str = ""
    replicas_ack: int = 0
    replicas_ack_timeout: float = 1.0

    @property
    def socket_timeout(self) -> float | None:
        """Seconds for one read or write: redis-py has one limit for both, so the longer of the two; None: no limit."""
        both = (self.read_timeout, self.write_timeout)
        return max(both) if all(both) else None

    @property
    def socket_connect_timeout(self) -> float | None:
        """Seconds for a connection; None: no limit."""
        return self.connect_timeout or None


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
        delayed_queue: name of the one queue for delayed messages; ``""``: they wait in gearmesh's delay queues.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class MongoDBConfig:
    """Machinery's MongoDB setting, which it has in code only.

    Attributes:
        database: the database of states, unless the URL has an option ``database``. Both sides must agree on it.
    """

    database: str = "machinery"


@dataclass(frozen=True, kw_only=True, slots=True)
class SQSConfig:
    """Machinery's SQS settings, then our own.

    Attributes:
        receive_wait_time_seconds: seconds that one request waits for messages, up to 20; 0: 20.
        receive_visibility_timeout: seconds for which a received message is hidden from other consumers;
            None or 0: the queue's own.
        visibility_heartbeat: accepted; a message is always hidden for as long as its worker holds it. (Machinery:
            ``visibility_hearth_beat``.)
        create_queues: create queues that do not exist, each with a queue for its dead letters.
        client: a client of boto3 for SQS, or a function that makes one, which each process calls once; None: one is
            made from the URL and the AWS environment. Machinery has it in code only, as here.
    """

    receive_wait_time_seconds: int = 0
    receive_visibility_timeout: float | None = None
    visibility_heartbeat: bool = False
    create_queues: bool = False
    client: Any = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamoDBConfig:
    """Machinery's DynamoDB settings: the names of its two tables, and a client.

    Attributes:
        task_states_table: the table of states.
        group_metas_table: the table of groups.
        client: a client of boto3 for DynamoDB, or a function that makes one, which each process calls once; None: one
            is made from the URL and the AWS environment. Machinery has it in code only, as here.
    """

    task_states_table: str = "task_states"
    group_metas_table: str = "group_metas"
    client: Any = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PubSubConfig:
    """Our settings of Google Pub/Sub, and Machinery's.

    Attributes:
        max_extension: seconds for which the lease of a message is extended while its task runs; 0: as long as it runs.
            Machinery has it in code only, and there 0 is 60 minutes.
        dead_letter_topic: the topic of dead letters of subscriptions without a dead letter policy; ``""``: none.
        dead_letter_subscription: a subscription of the dead letter topic, by which dead letters are listed; ``""``:
            they are not.
        delay_topic: the topic where messages wait that are not due; ``""``: their own topics. Needed where Go workers
            read the same subscriptions, since these run a message as soon as they get it.
        delay_subscription: the subscription of the delay topic, by which workers of gearmesh forward what is due.
        create: create topics and subscriptions that do not exist, for emulators and tests.
        client: a PublisherClient or SubscriberClient of ``google.cloud.pubsub_v1``, or a function that makes one, as
            programs that fork need; in code only. None: one is made, as Google's library does.
    """

    max_extension: float = 0
    dead_letter_topic: str = ""
    dead_letter_subscription: str = ""
    delay_topic: str = ""
    delay_subscription: str = ""
    create: bool = False
    client: Any = field(default=None, compare=False, repr=False)
