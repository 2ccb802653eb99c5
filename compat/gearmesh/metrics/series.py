"""The lists of all series, of workers and of queues: names, labels and meanings, and the bounds of histograms.

Names and units follow Prometheus' conventions: base units, and ``_total`` for counters.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = [
    "BATCH_BOUNDS",
    "FLUSH_BOUNDS_S",
    "OTHER",
    "OUTCOMES",
    "QUEUE_SERIES",
    "RUN_BOUNDS_S",
    "WAIT_BOUNDS_S",
    "WORKER_SERIES",
    "Series",
]

#: Outcomes of tasks. ``resumed``: an earlier delivery had finished the task, and the worker sent only its follow-up
#: tasks. ``lost``: its lease had ended, and another worker runs it. ``overdue``: its process was killed at the hard
#: limit.
OUTCOMES: Final = ("succeeded", "failed", "retried", "revoked", "expired", "resumed", "lost", "overdue")
#: The label that all names share once there are too many.
OTHER: Final = "other"

#: Seconds that tasks run.
RUN_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
#: Seconds that deliveries wait.
WAIT_BOUNDS_S: Final = (0.001, 0.01, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200)
#: Seconds that one flush of Commits takes, and one answer of the broker.
FLUSH_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
#: Commits that are flushed together.
BATCH_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 512)


class Series(NamedTuple):
    """Describes one metric: its name, kind, labels and meaning.

    Attributes:
        name: without ``_total``, which prometheus_client adds to a counter.
        kind: the kind of metric.
        labels: the names of its labels.
        help: the meaning, in a sentence.
        bounds: the bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()


_ROWS: Final = (
    Series("gearmesh_tasks", "counter", ("task", "queue", "outcome"), "Tasks that have ended, by outcome."),
    Series("gearmesh_task_run_seconds", "histogram", ("task",), "Time that tasks ran.", RUN_BOUNDS_S),
    Series(
        "gearmesh_delivery_wait_seconds",
        "histogram",
        ("queue",),
        "Time from a delivery to the begin of its task, in this worker.",
        WAIT_BOUNDS_S,
    ),
    Series(
        "gearmesh_task_late_seconds",
        "histogram",
        ("queue",),
        "Time from the ETA of a delayed task or a retry to its begin.",
        WAIT_BOUNDS_S,
    ),
    Series("gearmesh_redeliveries", "counter", ("queue",), "Deliveries that another consumer had lost."),
    Series(
        "gearmesh_lost_deliveries",
        "counter",
        ("queue",),
        "Deliveries whose lease, visibility timeout or connection ended before this worker had settled them.",
    ),
    Series(
        "gearmesh_reaped_deliveries",
        "counter",
        ("queue",),
        "Deliveries of other workers, silent for a lease, that this worker has returned to the queue.",
    ),
    Series("gearmesh_parked_messages", "counter", ("queue",), "Messages whose task is not registered here."),
    Series("gearmesh_dead_letters", "counter", ("queue",), "Messages that became dead letters."),
    Series("gearmesh_tasks_running", "gauge", (), "Tasks that run now."),
    Series(
        "gearmesh_deliveries_held", "gauge", (), "Unacked deliveries of this worker, running ones included."
    ),
    Series("gearmesh_task_slots", "gauge", (), "Tasks that this worker can run at a time."),
    Series(
        "gearmesh_commit_batch_size", "histogram", (), "Commits that were flushed together.", BATCH_BOUNDS
    ),
    Series(
        "gearmesh_commit_seconds",
        "histogram",
        (),
        "Time that broker and backend took for a flush of Commits.",
        FLUSH_BOUNDS_S,
    ),
    Series(
        "gearmesh_broker_round_trip_seconds",
        "histogram",
        (),
        "Time that the broker took to answer a heartbeat of the supervisor.",
        FLUSH_BOUNDS_S,
    ),
    Series(
        "gearmesh_commit_stalls", "counter", (), "Times that Commits began to wait for an unreachable server."
    ),
    Series("gearmesh_broker_reconnects", "counter", (), "Times that the supervisor lost the broker."),
    Series(
        "gearmesh_recovered_deliveries", "counter", (), "Deliveries of dead processes that were returned."
    ),
    Series("gearmesh_process_restarts", "counter", (), "Processes that were started in place of others."),
    Series(
        "gearmesh_worker_processes", "gauge", ("state",), "Processes that run tasks: starting or consuming."
    ),
    Series(
        "gearmesh_worker_memory_bytes",
        "gauge",
        ("process",),
        "Resident memory: of the supervisor, of the rest.",
    ),
    Series("gearmesh_worker_info", "gauge", ("version", "pool"), "1; the labels describe the worker."),
)
_QUEUE_ROWS: Final = (
    Series(
        "gearmesh_queue_messages",
        "gauge",
        ("queue", "state"),
        "Messages of a queue, as far as the broker tells.",
    ),
    Series(
        "gearmesh_queue_consumers", "gauge", ("queue",), "Consumers of a queue, as far as the broker tells."
    ),
    Series(
        "gearmesh_queue_oldest_message_seconds",
        "gauge",
        ("queue",),
        "Time since the message that is next was sent, or was due.",
    ),
    Series("gearmesh_delayed_messages", "gauge", (), "Messages of all queues that wait for their ETA."),
)
#: The series of the dashboard's ``/metrics``, by name.
QUEUE_SERIES: Final = {series.name: series for series in _QUEUE_ROWS}
#: The series of ``gearmesh worker --metrics-port``, by name.
WORKER_SERIES: Final = {series.name: series for series in _ROWS}
