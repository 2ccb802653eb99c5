"""Checks a RabbitMQ for queues and bindings by which Go programs copy or lose tasks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

import amqp

from gearmesh.cli.checks.base import Case, Finding, Level
from gearmesh.transports.amqp.look import Look
from gearmesh.units import counted
from gearmesh.urls import AMQPTarget, parse, redact
from gearmesh.urls.addresses import bracketed, shown_address
from gearmesh.wire.names import DEFAULT_QUEUE

__all__ = ["double_bindings", "orphan_queue"]

#: Seconds to wait for a connection, and for an answer.
ANSWER_TIMEOUT_S = 5.0
#: Messages of a queue that are read.
MAX_SAMPLED_MESSAGES = 50


def orphan_queue(case: Case) -> Iterator[Finding]:
    """Find the queue with the name of the binding key. Go producers declare it, and no worker empties it.

    Go: a producer declares and binds a queue with the name of the message's routing key. The routing key of default
    tasks is the BindingKey (``machinery_task``), but workers read DefaultQueue (``machinery_tasks``).
    """
    key = case.config.amqp.binding_key
    if key == case.app.default_queue:
        return
    for url, channel in _channels(case):
        try:
            found = channel.queue_declare(key, passive=True)
        except amqp.NotFound:
            continue
        about = f"queue {key!r} of {redact(url)}"
        if found.consumer_count:
            text = f"has {counted(found.consumer_count, 'consumer')}, so you use it as a separate queue"
            yield Finding("note", about, text)
        elif not found.message_count:
            advice = "There is nothing to do now. Run the doctor again after Go programs have sent tasks."
            yield Finding("note", about, "no consumer reads it; it is empty now", advice)
        else:
            yield Finding(
                "problem",
                about,
                f"has {counted(found.message_count, 'message')} and no consumer: Go producers put a copy of each "
                f"default task there, so it grows without end",
                f"Keep it short: rabbitmqctl set_policy gearmesh-orphan '^{key}$' '{{\"max-length\":1}}' "
                f"--apply-to queues. To get rid of it, give all processes the same DefaultQueue as BindingKey. "
                f"Look at its messages before you empty it (gearmesh pending --queue {key}): only this queue has the "
                f"tasks that were sent before the first worker ever ran.",
            )


def double_bindings(case: Case) -> Iterator[Finding]:
    """Find further queues that get a copy of each default task, which then runs twice.

    Go: a worker on a custom queue binds it with the BindingKey, and so does a program that lists a queue's pending
    tasks. The binding is durable. AMQP cannot list bindings, but the management API can. Without that API, the check
    looks for a waiting message that came through such a binding.
    """
    config = case.config
    if config.amqp.exchange_type != "direct":
        return
    for url, channel in _channels(case):
        api = case.management
        try:
            bound = _bound_by_api(api, url, config.amqp.exchange, config.amqp.binding_key) if api else None
        except (OSError, URLError, ValueError) as exc:
            yield Finding("problem", f"management API {redact(api)}", f"does not answer: {exc}")
            bound = None
        if bound is None:
            if _is_gos_default(case, channel):
                yield _shared_key(case, url, "note", "if Go workers use it with the same BindingKey,")
            bound = [queue for queue in case.queues if _has_copies(channel, queue, config.amqp.binding_key)]
            if not api:
                looked = (
                    f"; the doctor read only the messages in {', '.join(case.queues)}" if case.queues else ""
                )
                yield Finding(
                    "note",
                    f"bindings of {redact(url)}",
                    f"cannot be listed over AMQP{looked}",
                    "Name your other queues, or let the doctor ask RabbitMQ's management plugin: "
                    "--management http://user:password@host:15672",
                )
        for queue in bound:
            if queue in (case.app.default_queue, config.amqp.binding_key):
                continue
            if queue == DEFAULT_QUEUE:
                yield _shared_key(case, url, "problem", "Go workers use it with the same BindingKey, so")
                continue
            command = (
                f"rabbitmqadmin delete binding source={config.amqp.exchange} destination_type=queue "
                f"destination={queue} properties_key={config.amqp.binding_key}"
            )
            yield Finding(
                "problem",
                f"queue {queue!r} of {redact(url)}",
                f"is bound with {config.amqp.binding_key!r}, the default queue's key: it gets a copy of each "
                "default task, which then runs twice",
                f"{command}. It comes back whenever a Go worker starts on that queue, or a Go program lists "
                f"its pending tasks: give that Go worker {queue!r} as BindingKey as well as DefaultQueue.",
            )


def _is_gos_default(case: Case, channel: Any) -> bool:
    """True if Machinery's default queue exists, and the app has another default queue."""
    if case.app.default_queue == DEFAULT_QUEUE or case.config.amqp.binding_key == case.app.default_queue:
        return False
    try:
        channel.queue_declare(DEFAULT_QUEUE, passive=True)
    except amqp.NotFound:
        return False
    return True


def _shared_key(case: Case, url: str, level: Level, who: str) -> Finding:
    """The finding that the app's default queue and Machinery's are bound with the same key."""
    mine, key = case.app.default_queue, case.config.amqp.binding_key
    return Finding(
        level,
        f"queue {mine!r} of {redact(url)}",
        f"is the app's default queue, so it is bound with {key!r}. {DEFAULT_QUEUE!r} exists, too: {who} "
        "each queue gets a copy of each default task, which then runs twice",
        f"Set amqp.binding_key to {mine!r}, or default_queue to {DEFAULT_QUEUE!r}. Then remove the binding that is "
        f"left: rabbitmqadmin delete binding source={case.config.amqp.exchange} destination_type=queue "
        f"destination={mine} properties_key={key}",
    )


def _has_copies(channel: Any, queue: str, key: str) -> bool:
    """True if a waiting message was routed by the key. All messages are put back where they were."""
    with closing(Look(queue, channel.connection.channel)) as look:
        try:
            routes = [message.delivery_info for message in islice(look, MAX_SAMPLED_MESSAGES)]
        except amqp.NotFound:
            return False
        look.put_back(lambda: channel.queue_declare(queue, passive=True)[1:])
    return any(route["routing_key"] == key and route["exchange"] for route in routes)


def _bound_by_api(api: str, url: str, exchange: str, key: str) -> list[str]:
    """The queues that a key binds to the exchange. Raises OSError or ValueError."""
    target = parse(url, "broker")
    assert isinstance(target, AMQPTarget)
    parts = urlsplit(api)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected http://user:password@host:15672")
    user, password = unquote(parts.username or target.username), unquote(parts.password or target.password)
    where = f"{quote(target.virtual_host, safe='')}/{quote(exchange, safe='')}"
    host = shown_address(parts.hostname, parts.port) if parts.port else bracketed(parts.hostname)
    request = Request(f"{parts.scheme}://{host}/api/exchanges/{where}/bindings/source")
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    with urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        rows = json.load(answer)
    bound = (row for row in rows if row["routing_key"] == key and row["destination_type"] == "queue")
    return [str(row["destination"]) for row in bound]


def _channels(case: Case) -> Iterator[tuple[str, Any]]:
    """Yield the URL of each RabbitMQ that can be reached, and a channel to it."""
    for url in case.config.brokers:
        target = parse(url, "broker")
        if not isinstance(target, AMQPTarget):
            continue
        timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), ANSWER_TIMEOUT_S)
        connection = amqp.Connection(**timeouts, **case.config.amqp.connection(target))
        try:
            connection.connect()
        except (amqp.AMQPError, OSError):  # brokers_answer reports it
            connection.collect()
            continue
        with closing(connection):
            yield url, connection.channel()
