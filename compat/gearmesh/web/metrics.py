"""Serves the overview's numbers of queues to Prometheus, for the queues of Go workers as well."""

from __future__ import annotations

from typing import Final

from gearmesh.errors import ConfigError
from gearmesh.web.desk import Desk
from gearmesh.web.pages.overview import rows_of

__all__ = ["MAX_QUEUES", "queue_metrics"]

#: Number of queues that have series; the app's own queues come first.
MAX_QUEUES: Final = 200


def queue_metrics(desk: Desk, accept: str) -> tuple[bytes, str]:
    """Return the text of the metrics and its content type.

    Raises:
        ConfigError: prometheus_client is not installed.
        GearmeshError: the broker or the backend cannot be reached.
    """
    try:
        from gearmesh.metrics.exporter import Families, exposition, families_collector
        from gearmesh.metrics.series import QUEUE_SERIES
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"/metrics needs the package {exc.name!r}: pip install 'gearmesh[metrics]'"
        ) from None
    families = Families(QUEUE_SERIES)
    for row in rows_of(desk, desk.directory.first(MAX_QUEUES)):
        counts = row.counts
        by_state = {
            "waiting": counts.pending,
            "in_flight": counts.held,
            "parked": counts.parked,
            "dead": counts.dead,
            "delayed": counts.delayed,
        }
        for state, count in by_state.items():
            if count is not None:
                families.add("gearmesh_queue_messages", count, counts.queue, state)
        if counts.consumers is not None:
            families.add("gearmesh_queue_consumers", counts.consumers, counts.queue)
        if row.latency_s is not None:
            families.add("gearmesh_queue_oldest_message_seconds", row.latency_s, counts.queue)
    if desk.broker.abilities().pages:
        delayed = desk.broker.ask("delayed count", lambda channel: channel.delayed_count())
        families.add("gearmesh_delayed_messages", delayed)
    return exposition([families_collector(families)], accept)
