"""The sections of a Config: the settings of Redis, of RabbitMQ, of MongoDB, and of hosted services."""

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
    """Machinery's Redis settings, by its names, followed by gearmesh's own.

    Machinery's ``delayed_tasks_key`` and ``delayed_tasks_poll_period`` are
    ``Config.delayed_tasks_key`` and ``Config.delayed_poll``.

    Attributes:
        read_timeout: seconds for an answer; 0: no limit.
        write_timeout: seconds for sending; 0: no limit. See :attr:`socket_timeout`.
        connect_timeout: seconds for a connection; 0: no limit.
        client_name: the name that connections send to the server; ``""``: they send no name.
        master_name: the name of the master. The hosts of the URL are then sentinels; ``""``: they are not.
        cluster_enabled: True: the one host of the URL is a node of a cluster. Several hosts are a cluster anyway.
        sentinel_password: the password of the sentinels themselves; ``""``: they have none. Left out of ``repr``.
        max_idle, max_active, max_idle_timeout, wait: settings of Go's pool. Accepted without an effect.
        normal_tasks_poll_period: milliseconds. Accepted without an effect: the server wakes gearmesh's idle workers.
        ca: file of the certificates that ``rediss://`` trusts; ``""``: the system's.
        cert: file of this client's certificate; ``""``: it has none.
        key: file of the certificate's key; ``""``: it is in ``cert``.
        replicas_ack: the number of replicas that must have a write before it counts as done; 0: none.
        replicas_ack_timeout: seconds to wait for the replicas before the write is repeated; above 0.
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
        """Seconds for one read or write, the longer of both since redis-py has one limit; None: no limit."""
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
    """Machinery's AMQP settings, by its names, followed by gearmesh's own.

    Machinery's settings decide on declarations and routing, so Go and Python programs must agree on them.

    Attributes:
        exchange: the exchange to which all messages are published.
        exchange_type: ``"direct"``, ``"topic"``, ``"fanout"`` or a type of a plugin.
        queue_declare_args: arguments of the queues that workers read, e.g. ``{"x-max-priority": 10}``.
        queue_binding_args: arguments of their bindings.
        binding_key: the key that binds the default queue.
        prefetch_count: the number of unacked deliveries of a Go worker; 0: no limit. gearmesh's workers ignore it.
        auto_delete: True: RabbitMQ deletes a queue when its last consumer leaves.
        delayed_queue: name of the one queue for delayed messages; ``""``: they wait in gearmesh's delay queues.
        delay_steps: without an effect; it rounded delays when each duration had a queue.
        heartbeat: seconds; RabbitMQ closes a connection that was silent for two to three times as long.
            0: it never does.
        ca: file with the authorities that may sign the server's certificate (``amqps://``); ``""``: the system's.
        cert: file with the client's certificate and those that lead to its CA; ``""``: the client has none.
        key: file with the certificate's private key; ``""``: it is in ``cert``.
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

        Go: the queue of one duration lives twice as long as its messages wait, so Go can delay a message for half of
        the time that RabbitMQ allows for a queue.
        """
        return MAX_EXPIRY_S if self.delayed_queue else MAX_EXPIRY_S / 2

    def connection(self, target: AMQPTarget) -> dict[str, Any]:
        """Return keyword arguments of ``amqp.Connection``. Raises ConfigError as :meth:`tls_options` does."""
        options = target.to_amqp()
        return options | {"ssl": self.tls_options(target.host)} if target.tls else options

    def tls_options(self, host: str) -> dict[str, Any]:
        """Return the TLS options of py-amqp. They make it check the certificate, and the host's name in it.

        Raises:
            ConfigError: a file cannot be read, or holds no certificate or key.
        """
        try:  # py-amqp would make a context itself, but its errors do not name the files
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
        database: the database of states, unless the URL has an option ``database``. Go and Python programs must agree
            on it.
    """

    database: str = "machinery"


@dataclass(frozen=True, kw_only=True, slots=True)
class SQSConfig:
    """Machinery's SQS settings, followed by gearmesh's own.

    Attributes:
        receive_wait_time_seconds: seconds for which one request waits for messages, up to 20; 0: 20.
        receive_visibility_timeout: seconds for which a received message is hidden from other consumers;
            None or 0: the queue's own timeout.
        visibility_heartbeat: accepted without an effect: a message is always hidden for as long as its worker holds it.
            (Machinery: ``visibility_hearth_beat``.)
        create_queues: True: gearmesh creates queues that do not exist, each with a queue for its dead letters.
        client: a client of boto3 for SQS, or a function that makes one, which each process calls once; None: gearmesh
            makes one from the URL and the AWS environment. Only code can set it, as in Machinery.
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
        client: a client of boto3 for DynamoDB, or a function that makes one, which each process calls once; None:
            gearmesh makes one from the URL and the AWS environment. Only code can set it, as in Machinery.
    """

    task_states_table: str = "task_states"
    group_metas_table: str = "group_metas"
    client: Any = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PubSubConfig:
    """gearmesh's settings of Google Pub/Sub, and Machinery's.

    Attributes:
        max_extension: seconds for which the lease of a message is extended while its task runs; 0: as long as it runs.
            Machinery has it in code only, and there 0 means 60 minutes.
        dead_letter_topic: the topic for dead letters of subscriptions without a dead letter policy; ``""``: there is
            none.
        dead_letter_subscription: a subscription of the dead letter topic, from which dead letters are listed; ``""``:
            they cannot be listed.
        delay_topic: the topic in which delayed messages wait; ``""``: they wait in their own topics. It is needed if Go
            workers read the same subscriptions, since Go workers run a message as soon as they get it.
        delay_subscription: the subscription of the delay topic, from which gearmesh workers forward messages that are
            due.
        create: True: gearmesh creates topics and subscriptions that do not exist, for emulators and tests.
        client: a PublisherClient or SubscriberClient of ``google.cloud.pubsub_v1``, or a function that makes one, which
            programs that fork need; only code can set it. None: gearmesh makes one, with Google's defaults.
    """

    max_extension: float = 0
    dead_letter_topic: str = ""
    dead_letter_subscription: str = ""
    delay_topic: str = ""
    delay_subscription: str = ""
    create: bool = False
    client: Any = field(default=None, compare=False, repr=False)
