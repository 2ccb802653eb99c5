"""The queues of one account, with the attributes that decide how messages are sent and hidden."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gearmesh.transports.sqs.errors import QueueMissing, SQSRefused
from gearmesh.urls import SQSTarget
from gearmesh.wire.names import sqs_dead_letters

__all__ = ["QueueDirectory", "Requests", "SQSQueue", "queue_of"]

log = logging.getLogger("gearmesh.sqs")

#: SQS's own defaults, for a queue whose attributes cannot be read: seconds, bytes, seconds.
DEFAULT_VISIBILITY_S, DEFAULT_MAX_BYTES, DEFAULT_RETENTION_S = 30, 262_144, 345_600
#: The number of receives after which SQS dead-letters a message of a queue that gearmesh has created.
CREATED_MAX_RECEIVES: Final = 100
#: Seconds that SQS keeps the messages of a queue that gearmesh has created: the longest time that it allows.
CREATED_RETENTION_S: Final = 1_209_600


class Requests(Protocol):
    """The part of a client that sends requests."""

    def call(self, operation: str, **params: Any) -> Any:
        """Send one request; see :meth:`~gearmesh.transports.sqs.client.SQSClient.call`."""


@dataclass(frozen=True, slots=True)
class SQSQueue:
    """Holds the URL and the attributes of one SQS queue.

    Attributes:
        name: the queue's name.
        url: the queue's URL.
        visibility_s: seconds for which SQS hides a received message, by the queue's own attribute.
        max_bytes: the largest message: body and message attributes.
        retention_s: seconds after which SQS deletes a message that is not received and deleted.
        dead_url: URL of the dead-letter queue that its redrive policy names; ``""``: it has no policy.
        max_receives: the redrive policy's ``maxReceiveCount``: SQS moves a message that comes back after so many
            receives to that queue; None: SQS never moves one.
        known: False if SQS does not show the attributes, so that these are SQS's defaults.
    """

    name: str
    url: str
    visibility_s: int = DEFAULT_VISIBILITY_S
    max_bytes: int = DEFAULT_MAX_BYTES
    retention_s: int = DEFAULT_RETENTION_S
    dead_url: str = ""
    max_receives: int | None = None
    known: bool = True

    @property
    def fifo(self) -> bool:
        """True for a FIFO queue."""
        return self.name.endswith(".fifo")


def queue_of(name: str, url: str, attributes: Mapping[str, str], endpoint: str) -> SQSQueue:
    """Make an SQSQueue from the answer to GetQueueAttributes."""
    dead_url, max_receives = "", None
    if policy := attributes.get("RedrivePolicy"):
        redrive = json.loads(policy)
        account, target = str(redrive.get("deadLetterTargetArn") or "").split(":")[-2:]
        dead_url = f"{endpoint}/{account}/{target}"
        max_receives = int(redrive.get("maxReceiveCount") or 0) or None
    return SQSQueue(
        name,
        url,
        visibility_s=int(attributes.get("VisibilityTimeout") or 0) or DEFAULT_VISIBILITY_S,
        max_bytes=int(attributes.get("MaximumMessageSize") or DEFAULT_MAX_BYTES),
        retention_s=int(attributes.get("MessageRetentionPeriod") or DEFAULT_RETENTION_S),
        dead_url=dead_url,
        max_receives=max_receives,
    )


class QueueDirectory:
    """Finds queues by name, and reads their attributes once. Safe in threads.

    Args:
        requests: sends the requests.
        target: the address of the queues.
        create: create each missing queue, and another queue for its dead letters.
    """

    def __init__(self, requests: Requests, target: SQSTarget, *, create: bool) -> None:
        self._requests = requests
        self._target = target
        self._create = create
        self._known: dict[str, SQSQueue] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> SQSQueue:
        """Return a queue.

        Raises:
            QueueMissing: the queue does not exist; the message says how to create it.
            SQSUnavailable: SQS does not answer.
        """
        found = self._known.get(name)
        if found is None:
            with self._lock:
                found = self._known.get(name)
                if found is None:
                    found = self._known[name] = self._find(name)
        return found

    def find(self, name: str) -> SQSQueue | None:
        """Return a queue that exists, without creating it; None: it does not exist."""
        try:
            return self._known.get(name) or self._read(name)
        except QueueMissing:
            return None

    def forget(self, name: str) -> None:
        """Forget a queue that was deleted or has changed: its next use reads the attributes again."""
        self._known.pop(name, None)

    def _find(self, name: str) -> SQSQueue:
        try:
            return self._read(name)
        except QueueMissing:
            if not self._create:
                raise QueueMissing(
                    f"SQS has no queue {name!r} at {self._target.queue_url('')}: create it (aws sqs create-queue "
                    f"--queue-name {name}), or set sqs.create_queues"
                ) from None
            self._make(name)
            return self._read(name)

    def _read(self, name: str) -> SQSQueue:
        url = self._target.queue_url(name)
        try:
            answer = self._requests.call("get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
        except QueueMissing:
            raise
        except SQSRefused as exc:
            if not exc.denied:
                raise
            log.warning(
                "the attributes of queue %s cannot be read (%s): gearmesh assumes SQS's defaults, and no dead-letter "
                "queue",
                name,
                exc,
            )
            return SQSQueue(name, url, known=False)
        return queue_of(name, url, answer.get("Attributes") or {}, self._target.endpoint)

    def _make(self, name: str) -> None:
        """Create a queue and its dead-letter queue. Several programs may do so at once."""
        common = {"MessageRetentionPeriod": str(CREATED_RETENTION_S)}
        if name.endswith(".fifo"):
            common["FifoQueue"] = "true"
        dead = sqs_dead_letters(name)
        self._requests.call("create_queue", QueueName=dead, Attributes=common)
        answer = self._requests.call(
            "get_queue_attributes", QueueUrl=self._target.queue_url(dead), AttributeNames=["QueueArn"]
        )
        redrive = {
            "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
            "maxReceiveCount": CREATED_MAX_RECEIVES,
        }
        attributes = common | {"RedrivePolicy": json.dumps(redrive)}
        self._requests.call("create_queue", QueueName=name, Attributes=attributes)
        log.info("created the queue %s, and %s for its dead letters", name, dead)
