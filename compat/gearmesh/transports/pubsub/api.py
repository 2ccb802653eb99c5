"""Makes the gRPC calls of Pub/Sub that gearmesh needs, and converts their errors to gearmesh's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gearmesh.batching import divided
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.process_local import ProcessLocal
from gearmesh.transports.pubsub.addresses import Addresses

try:
    import grpc
    from google.api_core.exceptions import from_grpc_error
    from google.api_core.gapic_v1.routing_header import to_grpc_metadata
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import pubsub_v1
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
    from google.pubsub_v1.types import pubsub as types
except ImportError as exc:
    raise ConfigError(
        f"broker: gcppubsub:// needs google-cloud-pubsub ({exc}): pip install 'gearmesh[pubsub]'"
    ) from exc

__all__ = [
    "Call",
    "PubSubAPI",
    "PubSubUnavailable",
    "SubscriptionSettings",
    "failed_acks",
    "start_all",
    "types_of",
]

#: Bytes that Pub/Sub takes as one message's data, and in one Publish request, less some room for attributes.
MAX_MESSAGE_BYTES: Final = 9_900_000
#: Number of messages in one Publish request.
MAX_PUBLISH_MESSAGES: Final = 1000
#: Number of messages that one Pull asks for.
MAX_PULL_MESSAGES: Final = 1000
#: Number of ack ids in one Acknowledge or ModifyAckDeadline request; each has some 200 bytes, and a request at most 512
#: KiB.
MAX_ACK_IDS: Final = 1000
#: Seconds that one Pull waits for messages.
PULL_TIMEOUT_S: Final = 60.0
#: Seconds for which Pub/Sub keeps a message, unless its subscription sets another time: 7 days.
DEFAULT_RETENTION_S: Final = 604_800
#: Options of a channel that gearmesh opens: they allow bodies of 10 MB, and connect again soon if Pub/Sub was
#: unreachable.
CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

_Codes = grpc.StatusCode
#: Codes of errors that a repetition of the call would get again.
_REFUSED: Final = frozenset({_Codes.INVALID_ARGUMENT, _Codes.FAILED_PRECONDITION, _Codes.OUT_OF_RANGE})


class PubSubUnavailable(ConnectionError):
    """Pub/Sub did not answer, or refused the call for now; the caller may repeat it."""


class SubscriptionSettings:
    """Holds the settings of a subscription that change how gearmesh treats its messages.

    Attributes:
        known: False if Pub/Sub does not let this account read them; then the other attributes are guesses.
        ack_deadline_s: seconds for which Pub/Sub leases a message at first.
        topic: the topic's full name; ``""``: not known.
        ordered: messages with an ordering key come in order.
        exactly_once: Pub/Sub says of each acknowledgement whether it has taken it.
        dead_letter_topic: the full name of the dead letter policy's topic; ``""``: there is no policy.
        max_attempts: deliveries after which Pub/Sub itself dead-letters a message; 0: there is no policy.
        retention_s: seconds after its publication at which Pub/Sub deletes a message.
        backs_off: Pub/Sub delivers a returned message again after a pause of its own.
    """

    def __init__(self, found: Any = None) -> None:
        policy = getattr(found, "dead_letter_policy", None)
        self.known = found is not None
        self.ack_deadline_s: int = getattr(found, "ack_deadline_seconds", 0) or 10
        self.topic: str = getattr(found, "topic", "")
        self.ordered: bool = getattr(found, "enable_message_ordering", False)
        self.exactly_once: bool = getattr(found, "enable_exactly_once_delivery", False)
        self.dead_letter_topic: str = getattr(policy, "dead_letter_topic", "")
        self.max_attempts: int = (
            (getattr(policy, "max_delivery_attempts", 0) or 5) if self.dead_letter_topic else 0
        )
        retention = getattr(found, "message_retention_duration", None)
        self.retention_s: int = getattr(retention, "seconds", 0) or DEFAULT_RETENTION_S
        self.backs_off: bool = found is not None and found.HasField("retry_policy")


class Call:
    """Holds a request to Pub/Sub that may still be on its way. ``str()`` names its topic or subscription.

    Without :meth:`start`, :meth:`result` makes the request in the calling thread, which costs less.
    """

    def __init__(
        self, method: Any, request: Any, options: Mapping[str, Any], about: str, api: PubSubAPI
    ) -> None:
        self._method = method
        self._request = request
        self._options = options
        self._about = about
        self._api = api
        #: gRPC's future; None: the request is not started.
        self.future: Any = None

    def __str__(self) -> str:
        return self._about

    def start(self) -> Call:
        """Send the request, and return at once."""
        if self.future is None:
            self.future = self._method.future(self._request, **self._options)
        return self

    def result(self) -> Any:
        """Wait for the answer.

        Raises:
            PubSubUnavailable: the caller may repeat the call.
            ConfigError: the topic or the subscription does not exist.
            GearmeshError: Pub/Sub refuses the request.
        """
        try:
            if self.future is None:
                return self._method(self._request, **self._options)
            return self.future.result()
        except grpc.RpcError as exc:
            error = self._api.error(exc, self._about)
            # The ConfigError names the missing topic or subscription; gRPC's error adds nothing.
            raise error from (None if isinstance(error, ConfigError) else exc)
        except grpc.FutureCancelledError as exc:
            raise PubSubUnavailable(f"{self._about}: cancelled") from exc
        except GoogleAuthError as exc:
            raise PubSubUnavailable(f"{self._about}: {exc}") from exc


def start_all(calls: Sequence[Call]) -> None:
    """Start calls, so that they run at the same time; leave a single call to :meth:`Call.result`."""
    if len(calls) > 1:
        for call in calls:
            call.start()


class _Stubs:
    """The gRPC channel of one process and its methods, which send and return plain protobuf messages."""

    def __init__(self, client: Any) -> None:
        self._client = None
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        if client is not None:
            self._client = client() if callable(client) else client
            channel = self._client.transport.grpc_channel
        elif emulator:
            channel = grpc.insecure_channel(emulator, options=CHANNEL_OPTIONS)
        else:
            self._client = pubsub_v1.SubscriberClient(
                transport=partial(SubscriberGrpcTransport, channel=_open_channel)
            )
            channel = self._client.transport.grpc_channel
        self._channel = channel
        empty = types_of(
            "DetachSubscriptionResponse"
        )  # any message without fields reads google.protobuf.Empty
        self.publish = self._method("Publisher/Publish", "PublishRequest", types_of("PublishResponse"))
        self.pull = self._method("Subscriber/Pull", "PullRequest", types_of("PullResponse"))
        self.acknowledge = self._method("Subscriber/Acknowledge", "AcknowledgeRequest", empty)
        self.modify = self._method("Subscriber/ModifyAckDeadline", "ModifyAckDeadlineRequest", empty)
        self.get_topic = self._method("Publisher/GetTopic", "GetTopicRequest", types_of("Topic"))
        self.list_subscriptions = self._method(
            "Publisher/ListTopicSubscriptions",
            "ListTopicSubscriptionsRequest",
            types_of("ListTopicSubscriptionsResponse"),
        )
        self.create_topic = self._method("Publisher/CreateTopic", "Topic", types_of("Topic"))
        subscription = types_of("Subscription")
        self.get_subscription = self._method(
            "Subscriber/GetSubscription", "GetSubscriptionRequest", subscription
        )
        self.create_subscription = self._method("Subscriber/CreateSubscription", "Subscription", subscription)
        self.delete_topic = self._method("Publisher/DeleteTopic", "DeleteTopicRequest", empty)
        self.delete_subscription = self._method(
            "Subscriber/DeleteSubscription", "DeleteSubscriptionRequest", empty
        )

    def _method(self, name: str, request: str, response: Any) -> Any:
        return self._channel.unary_unary(
            f"/google.pubsub.v1.{name}",
            request_serializer=types_of(request).SerializeToString,
            response_deserializer=response.FromString,
        )


def _open_channel(host: str, *, options: Any = (), **more: Any) -> Any:
    return SubscriberGrpcTransport.create_channel(host, options=[*options, *CHANNEL_OPTIONS], **more)


def types_of(name: str) -> Any:
    """Return the plain protobuf class of a message of Pub/Sub's: the library's own wrappers take much more time."""
    found = _CLASSES.get(name)
    if found is None:
        wrapper = getattr(types, name)
        found = _CLASSES[name] = type(wrapper.pb(wrapper()))
    return found


_CLASSES: dict[str, Any] = {}


#: Makes the header by which Google's front ends find the topic or the subscription.
_routing: Callable[[Mapping[str, str]], tuple[str, str]] = to_grpc_metadata


class PubSubAPI:
    """Makes Pub/Sub's calls over one gRPC channel a process. Safe in threads; a forked process opens its own channel.

    Args:
        addresses: names topics and subscriptions.
        client: a PublisherClient or SubscriberClient of the user's own, or a function that makes one, which processes
            that fork need; None: gearmesh makes one, as Google's library does.
        timeout: seconds to wait for an answer.
        create: make topics and subscriptions that do not exist.
    """

    def __init__(
        self, addresses: Addresses, client: Any = None, *, timeout: float = 30.0, create: bool = False
    ) -> None:
        self.addresses = addresses
        self.timeout = timeout
        self._create = create
        self._local = ProcessLocal(lambda: _Stubs(client))
        self._settings: dict[str, SubscriptionSettings] = {}
        self._unawaited: set[Call] = set()

    def publish(self, topic: str, messages: Sequence[Any]) -> Call:
        """Send messages, PubsubMessage values, to a topic; all have the same ordering key, or none has one."""
        request = types_of("PublishRequest")(topic=topic, messages=messages)
        return self._call(self._stubs.publish, request, "topic", topic)

    def pull(self, subscription: str, count: int, timeout: float = PULL_TIMEOUT_S) -> Call:
        """Ask for up to ``count`` messages; Pub/Sub answers when there is one."""
        request = types_of("PullRequest")(subscription=subscription, max_messages=count)
        return self._call(self._stubs.pull, request, "subscription", subscription, timeout)

    def pull_now(self, subscription: str, count: int) -> Call:
        """Ask for up to ``count`` messages that Pub/Sub has at hand; the answer may be empty though there are
        messages."""
        request = types_of("PullRequest")(
            subscription=subscription, max_messages=count, return_immediately=True
        )
        return self._call(self._stubs.pull, request, "subscription", subscription)

    def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> list[tuple[Call, Sequence[str]]]:
        """Acknowledge deliveries, in as many requests as they need."""
        make = types_of("AcknowledgeRequest")
        return [
            (
                self._call(
                    self._stubs.acknowledge,
                    make(subscription=subscription, ack_ids=some),
                    "subscription",
                    subscription,
                ),
                some,
            )
            for some in _chunks(ack_ids)
        ]

    def modify(
        self, subscription: str, ack_ids: Sequence[str], seconds: int
    ) -> list[tuple[Call, Sequence[str]]]:
        """Lease deliveries for ``seconds`` from now, 0 to 600; 0 returns them at once."""
        make = types_of("ModifyAckDeadlineRequest")
        return [
            (
                self._call(
                    self._stubs.modify,
                    make(subscription=subscription, ack_ids=some, ack_deadline_seconds=seconds),
                    "subscription",
                    subscription,
                ),
                some,
            )
            for some in _chunks(ack_ids)
        ]

    def modify_unawaited(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Do as :meth:`modify`, but await no answer: if it fails, the messages come when their present leases end."""
        for call, _ in self.modify(subscription, ack_ids, seconds):
            self._unawaited.add(call)  # gRPC cancels a request to which no object refers
            call.start().future.add_done_callback(lambda _, call=call: self._unawaited.discard(call))

    def settings(self, subscription: str) -> SubscriptionSettings:
        """Return the settings of a subscription; read them once.

        Raises:
            ConfigError: there is no such subscription.
            PubSubUnavailable: Pub/Sub cannot be reached.
        """
        found = self._settings.get(subscription)
        if found is None:
            request = types_of("GetSubscriptionRequest")(subscription=subscription)
            try:
                answer = self._wait(self._stubs.get_subscription, request, "subscription", subscription)
            except _Denied:
                answer = None
            found = self._settings[subscription] = SubscriptionSettings(answer)
        return found

    def check_topic(self, topic: str) -> None:
        """Raise ConfigError if the topic does not exist; do nothing if this account may not ask."""
        request = types_of("GetTopicRequest")(topic=topic)
        try:
            self._wait(self._stubs.get_topic, request, "topic", topic)
        except _Denied:
            return

    def subscriptions_of(self, topic: str) -> list[str]:
        """List the full names of a topic's subscriptions. Raises ConfigError, PubSubUnavailable."""
        request = types_of("ListTopicSubscriptionsRequest")(topic=topic)
        return list(self._wait(self._stubs.list_subscriptions, request, "topic", topic).subscriptions)

    def ensure(self, topic: str, subscription: str) -> None:
        """Create a topic and a subscription of it if they do not exist, and if the settings allow that."""
        if self._create:
            self._make(self._stubs.create_topic, types_of("Topic")(name=topic), topic)
            if subscription:
                wanted = types_of("Subscription")(name=subscription, topic=topic)
                self._make(self._stubs.create_subscription, wanted, subscription)

    def delete(self, topic: str, subscription: str) -> None:
        """Delete a subscription and its topic. Raises ConfigError, PubSubUnavailable."""
        request = types_of("DeleteSubscriptionRequest")(subscription=subscription)
        self._wait(self._stubs.delete_subscription, request, "subscription", subscription)
        self._wait(self._stubs.delete_topic, types_of("DeleteTopicRequest")(topic=topic), "topic", topic)

    def error(self, exc: Any, about: str) -> Exception:
        """Convert the error of a call to ConfigError, PubSubUnavailable or GearmeshError."""
        code, details = exc.code(), exc.details() or str(exc)
        kind, _, name = about.partition(" ")
        if code is _Codes.NOT_FOUND:
            return ConfigError(
                f"broker: {kind} {name} does not exist; create it: {self.addresses.command(kind, name)}"
            )
        if code in (_Codes.PERMISSION_DENIED, _Codes.UNAUTHENTICATED):
            return _Denied(f"{about}: {code.name}: {details}")
        if code in _REFUSED:
            return GearmeshError(f"{about}: Pub/Sub refuses: {code.name}: {details}")
        return PubSubUnavailable(f"{about}: {code.name if code else 'no answer'}: {details}")

    @property
    def _stubs(self) -> _Stubs:
        return self._local.get()

    def _call(self, method: Any, request: Any, kind: str, name: str, timeout: float | None = None) -> Call:
        metadata = (_routing({kind: name}),)
        options = {"timeout": timeout or self.timeout, "metadata": metadata}
        return Call(method, request, options, f"{kind} {name}", self)

    def _wait(self, method: Any, request: Any, kind: str, name: str) -> Any:
        return self._call(method, request, kind, name).result()

    def _make(self, method: Any, wanted: Any, name: str) -> None:
        try:
            method(wanted, timeout=self.timeout)
        except grpc.RpcError as exc:
            if exc.code() is not _Codes.ALREADY_EXISTS:
                raise self.error(exc, f"{'topic' if '/topics/' in name else 'subscription'} {name}") from exc


class _Denied(PubSubUnavailable):
    """This account lacks a permission; an administrator may grant it while the caller tries again."""


def failed_acks(exc: BaseException | None) -> dict[str, str] | None:
    """Read from an error which ack ids of an exactly-once subscription were not settled, and why; None: the error names
    none."""
    if not isinstance(exc, grpc.RpcError):
        return None
    found: dict[str, str] = {}
    from_grpc: Callable[[Any], Any] = from_grpc_error
    for detail in getattr(from_grpc(exc), "details", ()):
        metadata: Mapping[str, str] = getattr(detail, "metadata", {})
        found |= {ack_id: why for ack_id, why in metadata.items() if "_FAILURE_" in why}
    return found or None


def _chunks(ack_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    size: Callable[[str], int] = len
    return divided(ack_ids, size, max_items=MAX_ACK_IDS, max_bytes=400_000)
