"""Checks a Google Pub/Sub for topics and subscriptions by which tasks are lost, late or run twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gearmesh.cli.checks.base import Case, Finding
from gearmesh.errors import ConfigError
from gearmesh.transports.registry import connect
from gearmesh.units import duration
from gearmesh.urls import PubSubTarget, parse

if TYPE_CHECKING:
    from gearmesh.transports.pubsub.api import PubSubAPI, SubscriptionSettings

__all__ = ["subscriptions"]

#: Deliveries that a dead letter policy should allow, since a stopped or killed worker uses up one.
MIN_ATTEMPTS: Final = 20
#: Seconds that an ack deadline should have, since a worker may be busy when it has to extend it for the first time.
MIN_ACK_DEADLINE_S: Final = 30


def subscriptions(case: Case) -> Iterator[Finding]:
    """Find missing topics and permissions, and settings of subscriptions that do not suit tasks."""
    if not isinstance(parse(case.config.brokers[0], "broker"), PubSubTarget):
        return
    from gearmesh.transports.pubsub.api import PubSubUnavailable

    try:
        with connect(case.config) as connection:
            api: PubSubAPI = connection.channel().connection.api
            for queue in dict.fromkeys((case.app.default_queue, *case.queues)):
                try:
                    yield from _queue(case, api, queue)
                except ConfigError as exc:
                    yield Finding("problem", f"queue {queue!r}", str(exc).removeprefix("broker: "))
    except (ConfigError, PubSubUnavailable):  # brokers_answer reports it
        return


def _queue(case: Case, api: PubSubAPI, queue: str) -> Iterator[Finding]:
    addresses = api.addresses
    topic, name = addresses.topic(queue), addresses.subscription(queue)
    about = f"subscription {name}"
    api.check_topic(topic)
    settings = api.settings(name)
    if not settings.known:
        yield Finding(
            "note",
            about,
            "its settings cannot be read: gearmesh assumes an ack deadline of 10 s and no dead letter policy",
            "Give the workers' account the role roles/pubsub.viewer, or the permission pubsub.subscriptions.get.",
        )
        return
    if settings.topic != topic:
        yield Finding(
            "problem",
            about,
            f"belongs to {settings.topic}, and tasks of queue {queue!r} are sent to {topic}: no worker gets them",
            "Set default_queue to the name of the subscription's topic, or name another subscription in the URL.",
        )
    others = [each for each in api.subscriptions_of(topic) if each != name]
    if others:
        yield Finding(
            "note",
            f"topic {topic}",
            f"has other subscriptions too ({', '.join(others)}): each gets a copy of every task, retry and delayed "
            "message",
            "Let workers read only one subscription of a topic. Otherwise each task runs once for each subscription.",
        )
    yield from _settings(about, settings)
    yield from _dead_letters(case, api, about, settings)


def _settings(about: str, settings: SubscriptionSettings) -> Iterator[Finding]:
    if settings.ack_deadline_s < MIN_ACK_DEADLINE_S:
        yield Finding(
            "note",
            about,
            f"its ack deadline is {settings.ack_deadline_s} s: a worker that is busy for that time when it receives a "
            "message loses the message, and the task runs twice",
            f"gcloud pubsub subscriptions update {_short(about)} --ack-deadline=60",
        )
    if settings.backs_off:
        yield Finding(
            "note",
            about,
            "has a retry policy with a backoff: messages that a stopping worker returns, and delayed ones, come later",
            f"gcloud pubsub subscriptions update {_short(about)} --clear-retry-policy",
        )


def _dead_letters(
    case: Case, api: PubSubAPI, about: str, settings: SubscriptionSettings
) -> Iterator[Finding]:
    own = case.config.gcppubsub.dead_letter_topic
    topic = settings.dead_letter_topic or (api.addresses.topic(own) if own else "")
    if not topic:
        yield Finding(
            "problem",
            about,
            "has no dead letter topic: a message that no worker can run stays in it, and a worker receives it every "
            f"ten minutes until Pub/Sub deletes it after {duration(settings.retention_s)}",
            "Create a topic and a subscription of it, and set gcppubsub.dead_letter_topic and "
            "gcppubsub.dead_letter_subscription.",
        )
        return
    if 0 < settings.max_attempts < MIN_ATTEMPTS:
        yield Finding(
            "problem",
            about,
            f"its dead letter policy allows {settings.max_attempts} deliveries: Pub/Sub counts those of stopped "
            "workers and parked messages, too, and dead-letters tasks that could have run",
            f"gcloud pubsub subscriptions update {_short(about)} --max-delivery-attempts=100 "
            f"--dead-letter-topic={topic}",
        )
    if not api.subscriptions_of(topic):
        yield Finding(
            "problem",
            f"topic {topic}",
            "is the dead letter topic and has no subscription: Pub/Sub drops the dead letters",
            f"gcloud pubsub subscriptions create {topic.rpartition('/')[2]} --topic={topic}",
        )


def _short(about: str) -> str:
    return about.rpartition("/")[2]
