"""Names topics and subscriptions as Machinery does: a queue is a topic, and the URL names the subscription."""

from __future__ import annotations

import re
from typing import Final

from gearmesh.errors import ConfigError

__all__ = ["Addresses"]

#: Pub/Sub's rule for the names of topics and subscriptions.
_ID: Final = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~%+-]{2,254}")
#: Number of queues whose topics are remembered.
MAX_KNOWN_TOPICS: Final = 1000
_FULL: Final = re.compile(r"projects/[^/]+/(topics|subscriptions)/[^/]+")


class Addresses:
    """Knows the topic of each queue of an app, and the subscription through which workers read it.

    Workers read the default queue through the subscription of the broker URL, as Go does. They read every other queue
    through the subscription that has the queue's own name; Go cannot read it through this URL.

    Args:
        project: the id of the Google Cloud project.
        subscription: the subscription in the broker URL; ``""``: the one that has the default queue's name.
        default_queue: the queue that workers read through it.
    """

    def __init__(self, project: str, subscription: str = "", default_queue: str = "") -> None:
        self.project = project
        self._subscription = subscription
        self._default_queue = default_queue
        self._topics: dict[str, str] = {}

    def topic(self, queue: str) -> str:
        """Return the full name of a queue's topic; a full name stays as it is. Raises ConfigError."""
        found = self._topics.get(queue)
        if found is None:
            found = self._full("topics", queue)
            if len(self._topics) < MAX_KNOWN_TOPICS:
                self._topics[queue] = found
        return found

    def subscription(self, queue: str) -> str:
        """Return the full name of the subscription through which workers read a queue. Raises ConfigError."""
        own = queue == self._default_queue and self._subscription
        return self._full("subscriptions", own or queue)

    def named_subscription(self, name: str) -> str:
        """Return the full name of a subscription that a setting names. Raises ConfigError."""
        return self._full("subscriptions", name)

    def command(self, kind: str, name: str) -> str:
        """Return the command that creates a missing topic or subscription."""
        short, project = name.rpartition("/")[2], name.split("/")[1]
        if kind == "topic":
            return f"gcloud pubsub topics create {short} --project={project}"
        own = self._default_queue and short == self._subscription
        topic = self._default_queue if own else short
        return f"gcloud pubsub subscriptions create {short} --topic={topic} --ack-deadline=60 --project={project}"

    def _full(self, kind: str, name: str) -> str:
        if _FULL.fullmatch(name):
            return name
        if not _ID.fullmatch(name):
            raise ConfigError(
                f"queue is {name!r}, expected a name that Pub/Sub allows: a letter, then 2 to 254 letters, digits "
                "or any of -._~%+, and not 'goog' at the beginning"
            )
        return f"projects/{self.project}/{kind}/{name}"
