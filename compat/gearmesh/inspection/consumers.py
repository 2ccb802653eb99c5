"""Describes a consumer in words, by the heartbeats that its broker knows."""

from __future__ import annotations

from gearmesh.inspection.times import span
from gearmesh.interfaces.transport import ConsumerReport

__all__ = ["last_heard", "silence_of"]


def last_heard(consumer: ConsumerReport) -> str:
    """Describe the last heartbeat of a consumer: ``was last heard of 40 s ago``."""
    seconds = consumer.silent_s
    if seconds is None:
        return "has sent no heartbeat yet"
    return "is known to be dead" if seconds == float("inf") else f"was last heard of {span(seconds)} ago"


def silence_of(consumer: ConsumerReport, lease: float) -> str:
    """Explain why a consumer is silent, and when another worker takes over its deliveries; ``""``: it is not silent.

    ``lease``: seconds.
    """
    if not consumer.is_silent(lease):
        return ""
    if consumer.silent_s == float("inf"):
        return (
            f"its process has ended. A worker of the queue takes over its messages: on the same machine within 2 s, "
            f"on another one after a lease ({lease:g} s)"
        )
    return (
        f"its process is stopped, frozen or dead, or cannot reach the broker. Another worker of the queue takes over "
        f"its messages after a lease ({lease:g} s). If the process is dead, one on the same machine does so within 2 s"
    )
