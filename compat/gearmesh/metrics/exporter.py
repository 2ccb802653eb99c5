"""Gives the totals of a worker to prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gearmesh import __version__
from gearmesh.metrics.histogram import Histogram
from gearmesh.metrics.series import WORKER_SERIES, Series
from gearmesh.metrics.totals import Totals

__all__ = ["Exporter", "Families", "exposition", "families_collector"]


class Families:
    """Builds metric families, by the names of their series."""

    def __init__(self, table: dict[str, Series]) -> None:
        self._table = table
        self._made: dict[str, Any] = {}

    def add(self, name: str, value: float | Histogram, *labels: str) -> None:
        """Add a sample to the family ``name``. KeyError: the table has no such series."""
        series = self._table[name]
        family = self._made.get(name)
        if family is None:
            family = self._made[name] = _KINDS[series.kind](name, series.help, labels=series.labels)
        if isinstance(value, Histogram):
            family.add_metric(labels, value.cumulative(series.bounds), value.total)
        else:
            family.add_metric(labels, value)

    def all(self) -> list[Metric]:
        """Return the families, in the order of the table."""
        return [self._made[name] for name in self._table if name in self._made]


_KINDS: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Exporter(Collector):
    """Gives the totals of one worker to prometheus_client, as one of its collectors.

    Args:
        totals: the supervisor's totals.
        pool: the kind of pool.
        memory: returns the bytes of resident memory of the process that it is called in.
    """

    def __init__(self, totals: Totals, pool: str, memory: Callable[[], int]) -> None:
        self._totals = totals
        self._pool = pool
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        """Make families of the present totals."""
        families = Families(WORKER_SERIES)
        self._totals.read(lambda totals: self._read(totals, families))
        families.add("gearmesh_worker_memory_bytes", self._memory(), "supervisor")
        families.add("gearmesh_worker_info", 1, __version__, self._pool)
        yield from families.all()

    def _read(self, totals: Totals, families: Families) -> None:
        runs: dict[str, Histogram] = {}
        for (task, queue, outcome), counts in totals.tasks.items():
            families.add("gearmesh_tasks", counts.count, task, queue, outcome)
            runs.setdefault(task, Histogram()).add(counts.run)
        for task, run in runs.items():
            families.add("gearmesh_task_run_seconds", run, task)
        for queue, met in totals.queues.items():
            families.add("gearmesh_delivery_wait_seconds", met.wait, queue)
            families.add("gearmesh_task_late_seconds", met.late, queue)
            families.add("gearmesh_redeliveries", met.redelivered, queue)
            families.add("gearmesh_lost_deliveries", met.lost, queue)
            families.add("gearmesh_reaped_deliveries", met.reaped, queue)
            families.add("gearmesh_parked_messages", met.parked, queue)
            families.add("gearmesh_dead_letters", met.dead, queue)
        families.add("gearmesh_commit_batch_size", totals.batches)
        families.add("gearmesh_commit_seconds", totals.flushes)
        families.add("gearmesh_broker_round_trip_seconds", totals.round_trips)
        families.add("gearmesh_commit_stalls", totals.stalls)
        families.add("gearmesh_broker_reconnects", totals.reconnects)
        families.add("gearmesh_recovered_deliveries", totals.recovered)
        families.add("gearmesh_process_restarts", totals.restarts)
        latest = list(totals.latest.values())
        ready = sum(report.ready for report in latest)
        families.add("gearmesh_tasks_running", sum(report.running for report in latest))
        families.add("gearmesh_deliveries_held", sum(report.held for report in latest))
        families.add("gearmesh_task_slots", sum(report.slots for report in latest))
        families.add("gearmesh_worker_processes", ready, "consuming")
        families.add("gearmesh_worker_processes", len(latest) - ready, "starting")
        families.add("gearmesh_worker_memory_bytes", sum(report.memory for report in latest), "tasks")


class _Made(Collector):
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families.all()


def families_collector(families: Families) -> Collector:
    """Return a collector of families that are made already."""
    return _Made(families)


def exposition(collectors: Sequence[Collector], accept: str = "") -> tuple[bytes, str]:
    """Return the text of all families and its content type, in the form that an ``Accept`` header asks for."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
