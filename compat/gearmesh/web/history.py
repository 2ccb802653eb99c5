"""Draws the charts of the last hour: the numbers of tasks that ended, and that failed, in each minute."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from gearmesh.interfaces.listing import Minutes, SupportsHistory
from gearmesh.web.desk import Desk

__all__ = ["MAX_QUEUES", "Bar", "Chart", "Charts", "chart_of", "charts_of"]

#: Minutes of a chart.
CHART_MINUTES: Final = 60
#: Queues whose history one chart adds up.
MAX_QUEUES: Final = 20
#: Height of a chart, in units of its drawing.
CHART_HEIGHT: Final = 40
#: Smallest height of a bar for one task or more, in the same units.
MIN_HEIGHT: Final = 1.0
#: Outcomes that are failures.
FAILURES: Final = ("failed", "overdue", "lost")
#: Words of the history that do not stand for the end of a task: a time, or an outcome that another one follows.
NO_ENDS: Final = ("run_ms", "retried", "resumed")


class Bar(NamedTuple):
    """The bar of one minute: its place, and the number and height of ended tasks, and of failed tasks among them."""

    x: int
    ended: int
    failed: int
    ended_height: float
    failed_height: float


class Chart(NamedTuple):
    """Holds the chart of the last hour, with one bar for each minute.

    Attributes:
        bars: the bars, the oldest first.
        ended, failed, retried: the numbers of tasks in the hour.
        most: the number of tasks that ended in the fullest minute.
        mean_run_ms: the mean run time in ms; None: no run has ended.
        queues: the number of queues that were added up.
        known: False if the broker has no history of these queues.
        ended_path, failed_path: the bars as paths of SVG, for a small drawing.
    """

    bars: list[Bar]
    ended: int
    failed: int
    retried: int
    most: int
    mean_run_ms: float | None
    queues: int
    known: bool
    ended_path: str
    failed_path: str


class Charts(NamedTuple):
    """The charts of some queues: one of all together, and one of each."""

    together: Chart
    by_queue: dict[str, Chart]


def chart_of(desk: Desk, queues: Sequence[str]) -> Chart | None:
    """Draw the history of some queues together; None: the broker keeps no history. Raises GearmeshError."""
    charts = charts_of(desk, queues)
    return None if charts is None else charts.together


def charts_of(desk: Desk, queues: Sequence[str]) -> Charts | None:
    """Draw the history of some queues, together and apart; None: the broker keeps no history. Raises GearmeshError."""
    names = list(queues)[:MAX_QUEUES]
    end = int(time.time()) // 60 + 1
    start = end - CHART_MINUTES

    def ask(channel: Any) -> dict[str, Minutes] | None:
        return channel.history(names, start, end) if isinstance(channel, SupportsHistory) else None

    found = desk.broker.ask(("history", tuple(names), end), ask)
    if found is None:
        return None
    return Charts(
        _chart(list(found.values()), start), {name: _chart([own], start) for name, own in found.items()}
    )


def _chart(found: Sequence[Minutes], start: int) -> Chart:
    words: list[dict[str, int]] = [{} for _ in range(CHART_MINUTES)]
    for minutes in found:
        for minute, counts in minutes.items():
            own = words[minute - start]
            for word, count in counts.items():
                own[word] = own.get(word, 0) + count
    ended = [sum(count for word, count in own.items() if word not in NO_ENDS) for own in words]
    failed = [sum(own.get(word, 0) for word in FAILURES) for own in words]
    most = max(ended, default=0)
    bars = [
        Bar(x, count, bad, _height(count, most), _height(bad, most))
        for x, (count, bad) in enumerate(zip(ended, failed, strict=True))
    ]
    runs = sum(ended) + sum(own.get("retried", 0) for own in words)
    run_ms = sum(own.get("run_ms", 0) for own in words)
    return Chart(
        bars,
        sum(ended),
        sum(failed),
        sum(own.get("retried", 0) for own in words),
        most,
        run_ms / runs if runs else None,
        len(found),
        any(words),
        _path((bar.x, bar.ended_height) for bar in bars),
        _path((bar.x, bar.failed_height) for bar in bars),
    )


def _height(count: int, most: int) -> float:
    """The height of a bar, which is never so small that one failure among thousands is invisible."""
    return round(max(CHART_HEIGHT * count / most, MIN_HEIGHT), 2) if count > 0 else 0.0


def _path(bars: Iterable[tuple[int, float]]) -> str:
    return "".join(f"M{x} {CHART_HEIGHT}v-{height:g}h.8v{height:g}z" for x, height in bars if height)
