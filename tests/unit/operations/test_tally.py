"""A worker counts the ends of tasks by the Commits that make them known."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.app.revocations import REVOKED_ERROR
from gearmesh.interfaces.commit import ChordCheck, Commit, Delivery, Settle, Trigger
from gearmesh.interfaces.observer import Flush
from gearmesh.metrics.histogram import Histogram
from gearmesh.metrics.report import Report, RunningTask, decode_report, encode_report
from gearmesh.metrics.tally import Tally, outcome_of
from gearmesh.metrics.totals import MAX_NAMES, Totals
from gearmesh.wire.expiry import EXPIRED_ERROR
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING, STARTED, SUCCESS, TaskState


class Ended:
    """A job as an observer sees it."""

    def __init__(self, name: str = "add", uuid: str = "task_1", **fields: Any) -> None:
        self.sig = Signature(UUID=uuid, Name=name, ETA=fields.pop("eta", None))
        self.delivery = Delivery(queue="q", consumer="c", id=1, redelivered=fields.pop("redelivered", 0))
        now = time.monotonic()
        self.received_at, self.started_at, self.ended_at = now - 3, now - 2, now
        self.ended_before = bool(fields.pop("ended_before", False))


def commit(job: Ended, state: str, error: str = "", how: str = "ack", **more: Any) -> Commit:
    states = (TaskState(TaskUUID=job.sig.UUID, State=state, Error=error),)
    return Commit(states=states, settle=Settle(job.delivery, how), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "error", "want"),
    [
        (SUCCESS, "", "succeeded"),
        (FAILURE, "no", "failed"),
        (FAILURE, REVOKED_ERROR, "revoked"),
        (FAILURE, EXPIRED_ERROR, "expired"),
        (PENDING, "", "retried"),
    ],
)
def test_outcomes(state: str, error: str, want: str) -> None:
    job = Ended()
    assert outcome_of(commit(job, state, error), job, "done") == want


def test_a_lost_lease_and_an_earlier_end() -> None:
    job = Ended()
    assert outcome_of(commit(job, SUCCESS), job, "lost") == "lost"
    assert outcome_of(commit(job, SUCCESS), Ended(ended_before=True), "done") == "resumed"


@pytest.mark.parametrize("how", ["head", "tail", "later", "keep", "park"])
def test_a_message_that_goes_back_has_not_ended(how: Any) -> None:
    job = Ended()
    assert outcome_of(Commit(settle=Settle(job.delivery, how)), job, "done") == ""


def test_a_member_of_a_chord_is_counted_once() -> None:
    job = Ended()
    first = commit(job, SUCCESS, chord=ChordCheck("group_1", 2))
    pending = TaskState(TaskUUID="chord_1", State=PENDING)
    second = Commit(settle=Settle(job.delivery), trigger=Trigger("group_1", "task_1", (pending,)))
    outcomes = ("retry_all", "complete", "done")
    words = [outcome_of(each, job, how) for each, how in zip((first, first, second), outcomes, strict=True)]  # type: ignore[arg-type]
    assert words == ["", "succeeded", ""]


_jobs = st.builds(
    Ended, st.sampled_from(["add", "multiply"]), ended_before=st.booleans(), redelivered=st.integers(0, 1)
)
_items = st.tuples(
    _jobs,
    st.sampled_from([SUCCESS, FAILURE, PENDING, STARTED]),
    st.sampled_from(["ack", "leave", "keep", "head", "tail", "later", "park", "dead"]),
    st.sampled_from(["done", "lost", "complete", "retry_all", "retry_unwritten", "expired"]),
)


@given(st.lists(_items, max_size=20))
def test_a_flush_counts_each_end_by_its_name(items: list[Any]) -> None:
    tally, want = Tally(), Counter[tuple[str, str]]()
    flushed = [(commit(job, state, how=how), job) for job, state, how, _ in items]
    outcomes = [outcome for *_, outcome in items]
    for (each, job), outcome in zip(flushed, outcomes, strict=True):
        word = outcome_of(each, job, outcome)
        if word:
            want[job.sig.Name, word] += 1
    tally.flushed(Flush(flushed, outcomes, 0.001))
    assert {(each.task, each.outcome): each.count for each in tally.take().tasks} == want


def test_counts_of_a_flush() -> None:
    tally = Tally()
    eta = format_ns(time.time_ns() - 10_000_000_000)
    jobs = [Ended(), Ended(redelivered=1, eta=eta), Ended("other")]
    items: list[Any] = [(commit(job, SUCCESS), job) for job in jobs]
    for how in ("park", "park", "dead", "dead"):
        items.append((Commit(settle=Settle(jobs[0].delivery, how)), None))  # type: ignore[arg-type]
    tally.flushed(Flush(items, ["done", "done", "done", "done", "expired", "done", "lost"], 0.002))
    tally.stalled()
    report = decode_report(encode_report(tally.take()))
    assert {(each.task, each.queue, each.outcome): each.count for each in report.tasks} == {
        ("add", "q", "succeeded"): 2,
        ("other", "q", "succeeded"): 1,
    }
    assert report.tasks[0].run.count == 2
    assert report.tasks[0].run.total == pytest.approx(4, abs=0.01)
    (queue,) = report.queues
    assert (queue.redelivered, queue.parked, queue.dead, queue.lost) == (1, 1, 2, 1)
    assert queue.wait.count == 3
    assert queue.late.total == pytest.approx(8, abs=0.1)
    assert (report.batches.total, report.flushes.total, report.stalls) == (7, 0.002, 1)
    assert tally.take() == Report()


def test_lost_deliveries_are_counted_once() -> None:
    tally, job = Tally(), Ended()
    shown = Commit(settle=Settle(job.delivery, "keep"))  # type: ignore[arg-type]
    back = Commit(settle=Settle(job.delivery, "head"))  # type: ignore[arg-type]
    tally.flushed(Flush([(shown, None), (commit(job, SUCCESS), job), (back, job)], ["lost"] * 3, 0.1))
    tally.flushed(Flush([(commit(job, SUCCESS), job)], ["lost"], 0.1, repeated=True))  # the first try did it
    totals = Totals()
    totals.add("a", decode_report(encode_report(tally.take())))
    assert totals.queues["q"].lost == 2


def test_totals_never_fall() -> None:
    totals = Totals()
    tally = Tally()
    job = Ended()
    for consumer in ("a", "b"):
        tally.flushed(Flush([(commit(job, SUCCESS), job)], ["done"], 0.1))
        report = tally.take()
        report.longest = [RunningTask("task_2", "add", "q", 1.0)]
        totals.add(consumer, report)
    totals.gone("a")
    assert set(totals.latest) == {"b"}
    assert totals.tasks["add", "q", "succeeded"].count == 2
    assert totals.flushes.count == 2


def test_names_are_bounded() -> None:
    totals = Totals()
    tally = Tally()
    for number in range(2 * MAX_NAMES):
        job = Ended(f"task{number}")
        tally.flushed(Flush([(commit(job, SUCCESS), job)], ["done"], 0.1))
    totals.add("a", tally.take())
    names = {task for task, _, _ in totals.tasks}
    assert len(names) == MAX_NAMES  # the queue has a name, too, and "other" counts for the rest
    assert "other" in names
    assert sum(counts.count for counts in totals.tasks.values()) == 2 * MAX_NAMES


def test_a_histogram_counts_as_prometheus_does() -> None:
    histogram = Histogram()
    for value in (0.5, 1, 2, 9):
        histogram.observe(value, (1, 2))
    assert histogram.cumulative((1, 2)) == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == 12.5


@given(
    st.lists(st.lists(st.floats(0, 4) | st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=20), max_size=4),
    st.just((0.5, 1.0, 2.0)),
)
def test_values_counted_together_are_those_counted_one_by_one(
    batches: list[list[float]], bounds: tuple[float, ...]
) -> None:
    together, alone = Histogram(), Histogram()
    for values in batches:
        for value in values:
            alone.observe(value, bounds)
        together.observe_all(list(values), bounds)
    assert together.counts == alone.counts
    assert together.total == pytest.approx(alone.total)
