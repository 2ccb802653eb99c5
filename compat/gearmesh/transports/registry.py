"""Makes kombu connections from URLs; imports only the transport that a URL names, so that workers start faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from gearmesh.config import Config, RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.transports.broker_choice import BrokerChoice, BrokerEndpoint
from gearmesh.transports.unacked import UnackedDeliveries, consumer_name
from gearmesh.urls import AMQPTarget, PlainTarget, PubSubTarget, RedisTarget, SQSTarget, Target, parse, redact
from gearmesh.wire.releases import ReleaseLimits, parse_releases

if TYPE_CHECKING:
    import kombu

__all__ = ["connect", "message_check", "open_connection", "open_unacked", "release_limits"]

AMQP: Final = "gearmesh.transports.amqp:Transport"
MEMORY: Final = "gearmesh.transports.memory:Transport"
REDIS: Final = "gearmesh.transports.redis:Transport"
SQS: Final = "gearmesh.transports.sqs:Transport"
REDIS_CLUSTER: Final = "gearmesh.transports.redis:ClusterTransport"


def connect(
    config: Config,
    *,
    consumer: str | None = None,
    choice: BrokerChoice | None = None,
    follows: bool = False,
    **options: Any,
) -> kombu.Connection:
    """Make a connection, not connected yet, to an app's broker, with all settings that its transport needs.

    With several brokers, opening its first channel tries each once, beginning with the one that ``choice`` names.

    Args:
        config: the app's settings.
        consumer: see :func:`open_connection`.
        choice: says which of several brokers is in use; None: the first one that is reachable.
        follows: try the broker in use only, since another connection chooses it.
        options: further options of the transport; they replace those that follow from ``config``.

    Raises:
        ConfigError: as :func:`open_connection`.
    """
    settings = {
        "lease": config.lease,
        "delayed_key": config.delayed_tasks_key,
        "delayed_poll": config.delayed_poll,
        "default_queue": config.default_queue,
        "redis": config.redis,
        "amqp": config.amqp,
        "gcppubsub": config.gcppubsub,
        "sqs": config.sqs,
        "patience": config.publish_timeout,
    } | options
    urls = config.brokers
    if len(urls) == 1:
        return open_connection(urls[0], consumer=consumer, options=settings)
    choice = BrokerChoice() if choice is None else choice
    if _is_plugins(parse(urls[0], "broker")):
        # A plugin connects in its own way: each new connection takes the next URL.
        url = urls[choice.index % len(urls)]
        choice.index += 1
        return open_connection(url, consumer=consumer, options=settings)
    settings["master_only"] = True
    from gearmesh.transports.single_attempt import (
        SingleAttemptConnection,
    )  # it imports kombu, which a program may never need

    return SingleAttemptConnection.to_one_of(
        [_endpoint(url, consumer, settings) for url in urls], choice, follows=follows
    )


def message_check(config: Config) -> Callable[[str, bytes], object] | None:
    """Return a function that refuses a message (queue, body) if the broker can never take it or the setting
    ``machinery_release`` forbids it; None: no message is refused.

    The function raises LocalProtocolError. Call it before states are written, so that a message that cannot be sent
    leaves no state.
    """
    limits = release_limits(config)
    by_release = None if limits is None else limits.check_message
    if not config.on_sqs:
        return by_release
    from gearmesh.transports.sqs.message import check_routing

    if by_release is None:
        return check_routing

    def check_both(queue: str, body: bytes) -> None:
        check_routing(queue, body)
        by_release(queue, body)

    return check_both


def release_limits(config: Config) -> ReleaseLimits | None:
    """Return the limits of the setting ``machinery_release``; None: every message may be sent."""
    return _limits(config.machinery_release, config.on_rabbitmq) if config.machinery_release else None


@cache
def _limits(releases: str, amqp: bool) -> ReleaseLimits | None:
    limits = ReleaseLimits(parse_releases(releases), amqp=amqp)
    return limits if limits else None


def open_unacked(config: Config, consumer: str | None = None) -> UnackedDeliveries:
    """Make the record of unacked deliveries that a worker gives to all its connections as the option ``unacked``.

    Args:
        config: the app's settings.
        consumer: the name under which the worker takes messages, unique to one run of one process; None: a new one.
    """
    target = parse(config.brokers[0], "broker")
    if isinstance(target, AMQPTarget):
        from gearmesh.transports.amqp.unacked import UNACKED_BY_CONSUMER

        return UNACKED_BY_CONSUMER.get(consumer or consumer_name())
    if isinstance(target, PubSubTarget):
        from gearmesh.transports.pubsub.unacked import UNACKED_BY_CONSUMER as PUBSUB_UNACKED

        return PUBSUB_UNACKED.get(consumer or consumer_name())
    if isinstance(target, SQSTarget):
        from gearmesh.transports.sqs.unacked import UNACKED_BY_CONSUMER as OF_SQS

        return OF_SQS.get(consumer or consumer_name())
    if isinstance(target, RedisTarget):
        from gearmesh.transports.redis.unacked import RedisUnackedDeliveries

        return RedisUnackedDeliveries(consumer)
    return UnackedDeliveries(consumer)


def open_connection(
    url: str, *, consumer: str | None = None, options: Mapping[str, Any] | None = None
) -> kombu.Connection:
    """Make a kombu connection, not connected yet, whose channels have gearmesh's verbs
    (:class:`gearmesh.interfaces.transport.Channel`).

    Args:
        url: ``redis://…``, ``rediss://…``, ``redis+socket://…``, ``gcppubsub://…``, ``memory://NAME``, or the
            scheme of an entry point in the group ``gearmesh.transports``: a callable ``(url, *, consumer, options)``
            that returns such a connection.
        consumer: the name under which its channels take messages, unique to one run of one process.
            None: the transport makes one.
        options: the transport's options; all transports take ``lease`` (seconds), and Redis takes ``redis`` (a
            RedisConfig).

    Raises:
        ConfigError: the URL is wrong, or its scheme is not known.
    """
    target = parse(url, "broker")
    if _is_plugins(target):
        return _plugin(url, target, consumer, options or {})
    from gearmesh.transports.single_attempt import SingleAttemptConnection

    return SingleAttemptConnection.to_one_of([_endpoint(url, consumer, options or {})])


def _endpoint(url: str, consumer: str | None, options: Mapping[str, Any]) -> BrokerEndpoint:
    target = parse(url, "broker")
    chosen = dict(options)
    if consumer is not None:
        chosen["consumer"] = consumer
    if isinstance(target, RedisTarget):
        from gearmesh.redis_client.connection_settings import ConnectionSettings

        access = ConnectionSettings(target, chosen.pop("redis", None) or RedisConfig())
        transport = REDIS_CLUSTER if access.topology == "cluster" else REDIS
        chosen = access.timeouts | chosen | {"access": access}
        return BrokerEndpoint(redact(url), {"transport": transport, **target.to_kombu()}, chosen)
    if isinstance(target, AMQPTarget):
        return BrokerEndpoint(redact(url), {"transport": AMQP, **target.to_kombu()}, chosen)
    if isinstance(target, PubSubTarget):
        # If kombu imported the transport by its name, it would report a missing library as a wrong name.
        from gearmesh.transports.pubsub import Transport as PubSubTransport

        return BrokerEndpoint(redact(url), {"transport": PubSubTransport, **target.to_kombu()}, chosen)
    if isinstance(target, SQSTarget):
        options_of_sqs = chosen | {"target": target}
        return BrokerEndpoint(redact(url), {"transport": SQS, "hostname": target.endpoint}, options_of_sqs)
    if isinstance(target, PlainTarget) and target.scheme == "memory":
        from gearmesh.transports.memory.broker import BROKERS

        # The connection's options keep the broker alive, also while the connection is closed.
        chosen.setdefault("broker", BROKERS.get(target.rest.strip("/")))
        return BrokerEndpoint(
            redact(url), {"transport": MEMORY, "hostname": f"memory://{target.rest}"}, chosen
        )
    raise ConfigError(
        f"broker: {redact(url)!r} runs tasks in the process that sends them; it is not a server"
    )


def _is_plugins(target: Target) -> TypeGuard[PlainTarget]:
    return isinstance(target, PlainTarget) and target.scheme != "memory"


def _plugin(
    url: str, target: PlainTarget, consumer: str | None, options: Mapping[str, Any]
) -> kombu.Connection:
    from importlib.metadata import entry_points

    for point in entry_points(group="gearmesh.transports", name=target.scheme):
        connection: kombu.Connection = point.load()(url, consumer=consumer, options=options)
        return connection
    raise ConfigError(
        f"broker: {target.scheme!r} runs tasks in the process that sends them; it is not a server"
    )
