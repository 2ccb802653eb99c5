"""Fetch the cloud emulators, and build the one of Pub/Sub, so that no test has to wait for that.

``python -m tests.support.fetch_servers NAME...``: ``jars`` or ``pubsub``.
"""

from __future__ import annotations

import sys

from tests.support.servers import ServerMissing, find_pubsub
from tests.support.servers.jars import DYNAMODB_LOCAL, ELASTICMQ


def fetch(name: str) -> None:
    """Fetch one kind. Raises ServerMissing."""
    if name == "pubsub":
        find_pubsub()
    else:
        for artifact in (ELASTICMQ, DYNAMODB_LOCAL):
            artifact.class_path()


if __name__ == "__main__":
    try:
        for each in sys.argv[1:]:
            fetch(each)
    except ServerMissing as reason:
        sys.exit(str(reason))
