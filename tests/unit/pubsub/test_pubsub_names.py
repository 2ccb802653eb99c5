"""Names that gearmesh writes into Pub/Sub, frozen: programs of other versions look for these."""

from __future__ import annotations

from gearmesh.transports.pubsub import message


def test_attributes_are_frozen() -> None:
    names = {name: value for name, value in vars(message).items() if str(value).startswith("gearmesh-")}
    assert names == {
        "CRASHES": "gearmesh-crashes",
        "DEAD_AT": "gearmesh-died",
        "QUEUE": "gearmesh-queue",
        "DEAD_REASON": "gearmesh-reason",
        "DUPLICATE": "gearmesh-duplicate",
        "ENVELOPE": "gearmesh-envelope",
        "NOT_BEFORE": "gearmesh-not-before",
    }
