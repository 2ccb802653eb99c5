"""Reports of worker processes: the counts since the last report, and the tasks that run now."""

from __future__ import annotations

import msgspec

from gearmesh.metrics.histogram import Histogram

__all__ = ["QueueCounts", "Report", "RunningTask", "TaskCounts", "decode_report", "encode_report"]


class TaskCounts(msgspec.Struct, array_like=True, gc=False):
    """The ends of one task from one queue with one outcome.

    Attributes:
        task, queue: names.
        outcome: one of :data:`~.series.OUTCOMES`.
        count: the number of these ends.
        run: seconds that the tasks ran.
    """

    task: str
    queue: str
    outcome: str
    count: int = 0
    run: Histogram = msgspec.field(default_factory=Histogram)


class QueueCounts(msgspec.Struct, array_like=True, gc=False):
    """Deliveries of one queue, as a worker process has met them.

    Attributes:
        queue: its name.
        redelivered: deliveries that another consumer had lost.
        parked: messages of tasks that are not registered here.
        dead: dead letters.
        wait: seconds from the delivery to the task's begin.
        late: seconds from the ETA to the task's begin, of tasks that have an ETA.
        lost: deliveries that this process held too long, or lost with its connection, so that others get them.
        reaped: deliveries of silent workers that this process has returned to the queue.
    """

    queue: str
    redelivered: int = 0
    parked: int = 0
    dead: int = 0
    wait: Histogram = msgspec.field(default_factory=Histogram)
    late: Histogram = msgspec.field(default_factory=Histogram)
    lost: int = 0
    reaped: int = 0


class RunningTask(msgspec.Struct, array_like=True, gc=False):
    """A task that runs now, and the seconds since its begin."""

    uuid: str
    task: str
    queue: str
    seconds: float


class Report(msgspec.Struct, omit_defaults=True, gc=False):
    """Holds the counts of one process of a worker since its last report, and its running tasks.

    Attributes:
        ready: True if it consumes.
        slots: the number of tasks that it can run at a time.
        running: the number of tasks that run now.
        held: the number of its unacked deliveries, the running ones among them.
        longest: a few of the running tasks, those that have run longest.
        memory: bytes of its resident memory.
        tasks, queues: counts.
        batches: Commits in each flush.
        flushes: seconds of each flush.
        stalls: how often Commits began to wait for an unreachable server.
    """

    ready: bool = False
    slots: int = 0
    running: int = 0
    held: int = 0
    longest: list[RunningTask] = []
    memory: int = 0
    tasks: list[TaskCounts] = []
    queues: list[QueueCounts] = []
    batches: Histogram = msgspec.field(default_factory=Histogram)
    flushes: Histogram = msgspec.field(default_factory=Histogram)
    stalls: int = 0


_decoder = msgspec.json.Decoder(Report)


def encode_report(report: Report) -> bytes:
    """Return the report as one line."""
    return msgspec.json.encode(report) + b"\n"


def decode_report(line: bytes) -> Report:
    """Read a line. Raises msgspec.DecodeError."""
    return _decoder.decode(line)
