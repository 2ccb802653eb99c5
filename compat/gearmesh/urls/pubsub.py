"""Reads the URL of Google Pub/Sub in Machinery's form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from gearmesh.urls.given import GivenURL

__all__ = ["PubSubTarget", "parse_pubsub"]

#: A project's id. Ids of old organisations have a domain in front.
_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{2,62}")
_SUBSCRIPTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~%+-]{2,254}")


@dataclass(frozen=True, slots=True)
class PubSubTarget:
    """The subscription of Google Pub/Sub through which workers read the default queue.

    Attributes:
        project: the id of the project that has the topics and subscriptions.
        subscription: the subscription's name.
    """

    project: str
    subscription: str
    scheme: str = "gcppubsub"

    def to_kombu(self) -> dict[str, Any]:
        """Return keyword arguments of ``kombu.Connection``."""
        return {"hostname": f"gcppubsub://{self.project}/{self.subscription}"}


def parse_pubsub(given: GivenURL) -> PubSubTarget:
    """Read ``gcppubsub://PROJECT/SUBSCRIPTION``. Raises ConfigError."""
    project, _, subscription = given.rest.partition("/")
    if not _PROJECT.fullmatch(project) or not _SUBSCRIPTION.fullmatch(subscription):
        raise given.wrong(
            "expected gcppubsub://PROJECT/SUBSCRIPTION, a project's id and a subscription's name without a path; "
            "credentials do not belong in the URL (set GOOGLE_APPLICATION_CREDENTIALS)"
        )
    return PubSubTarget(project, subscription)
