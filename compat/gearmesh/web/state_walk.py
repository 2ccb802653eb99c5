"""Walks through all states of a backend, a part at each page view, and keeps counts, the latest failures and groups."""

from __future__ import annotations

import heapq
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

from gearmesh.inspection.times import ns_of
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.listing import SupportsStateWalk
from gearmesh.web.state_reader import StateReader
from gearmesh.wire.state import FAILURE, GroupMeta, TaskState

__all__ = [
    "FailedTask",
    "FoundGroup",
    "StateSearch",
    "StateSummary",
    "StateWalk",
    "reason_of",
    "search_states",
]

#: Number of keys or documents that one step reads.
STEP_STATES: Final = 500
#: Seconds that one page view spends on the walk.
VIEW_BUDGET_S: Final = 0.08
#: Seconds between the end of a walk and the next one.
WALK_INTERVAL_S: Final = 15.0
#: Numbers of the latest failed tasks and of the latest groups that a walk keeps.
MAX_FAILED: Final = 500
MAX_GROUPS: Final = 200
#: Number of pairs of a task and a reason, or of a task and a state, that are counted apart; others are added up.
MAX_COUNTED: Final = 1000
#: Characters of a reason.
MAX_REASON_CHARS: Final = 120
#: The name under which the other tasks are added up.
OTHERS: Final = "(further tasks)"

_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\d+")


def reason_of(error: str) -> str:
    """The first line of an error with ``#`` for numbers and UUIDs, so that failures of one kind have one reason."""
    first = next((line for line in error.splitlines() if line.strip()), "")
    short = _NUMBER.sub("#", first[: 2 * MAX_REASON_CHARS]).strip()
    return short if len(short) <= MAX_REASON_CHARS else short[: MAX_REASON_CHARS - 1] + "…"


class FailedTask(NamedTuple):
    """A failed task that a walk has found. ``created``: unix ns of its first state; 0: not known."""

    created: int
    uuid: str
    name: str
    error: str


class FoundGroup(NamedTuple):
    """A group that a walk has found; ``members`` is their number. ``created``: unix ns; 0: not known."""

    created: int
    uuid: str
    members: int
    fired: bool


class StateSummary:
    """The sums of one walk. Its size has a bound."""

    def __init__(self) -> None:
        self.seen = 0
        self.states: Counter[str] = Counter()
        #: (task, state) -> number of tasks
        self.names: Counter[tuple[str, str]] = Counter()
        #: (task, reason) -> number of failed tasks
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.groups = 0
        self._failed: list[FailedTask] = []
        self._groups: list[FoundGroup] = []

    def add(self, found: Sequence[TaskState | GroupMeta]) -> None:
        """Count the states and groups that one step has found."""
        for each in found:
            if isinstance(each, GroupMeta):
                self.groups += 1
                group = FoundGroup(
                    ns_of(each.CreatedAt) or 0, each.GroupUUID, len(each.TaskUUIDs), each.ChordTriggered
                )
                _keep(self._groups, group, MAX_GROUPS)
                continue
            self.seen += 1
            self.states[each.State] += 1
            _count(self.names, each.TaskName, each.State)
            if each.State == FAILURE:
                _count(self.reasons, each.TaskName, reason_of(each.Error))
                failed = FailedTask(
                    ns_of(each.CreatedAt) or 0, each.TaskUUID, each.TaskName, each.Error[:2000]
                )
                _keep(self._failed, failed, MAX_FAILED)

    def latest_failed(self) -> list[FailedTask]:
        """The failed tasks that were created last, the latest first."""
        return sorted(self._failed, reverse=True)

    def latest_groups(self) -> list[FoundGroup]:
        """The groups that were created last, the latest first."""
        return sorted(self._groups, reverse=True)


def _count(counter: Counter[tuple[str, str]], name: str, what: str) -> None:
    key = (name, what)
    counter[key if key in counter or len(counter) < MAX_COUNTED else (OTHERS, "")] += 1


def _keep(
    heap: list[tuple[int, str]] | list[FailedTask] | list[FoundGroup], entry: tuple[object, ...], most: int
) -> None:
    items = cast("list[tuple[object, ...]]", heap)
    if len(items) < most:
        heapq.heappush(items, entry)
    else:
        heapq.heappushpop(items, entry)


class StateWalk:
    """Goes through all states again and again while a user looks at the dashboard. Safe in threads.

    Args:
        reader: the reader of the backend.
        clock: monotonic seconds.
    """

    def __init__(self, reader: StateReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._lock = threading.Lock()
        self._cursor = ""
        self._current = StateSummary()
        self._last: StateSummary | None = None
        self._ended = 0.0
        self._walking = True

    @property
    def complete(self) -> bool:
        """True after the end of the first walk."""
        return self._last is not None

    @property
    def age_s(self) -> float | None:
        """Seconds since the end of the last walk; None: no walk has ended."""
        return None if self._last is None else self._clock() - self._ended

    def look(self) -> StateSummary:
        """Go on with the walk, and return the sums of the last complete walk, or of the first one so far.

        Raises:
            BackendError: the backend cannot be reached.
        """
        if self._reader.walks:
            self._reader.ask("walk states", self._advance)
        return self._last or self._current

    def _advance(self, backend: Backend) -> None:
        assert isinstance(backend, SupportsStateWalk)
        until = self._clock() + VIEW_BUDGET_S
        with self._lock:
            if not self._walking:
                if self._clock() - self._ended < WALK_INTERVAL_S:
                    return
                self._walking = True
            while self._walking:
                self._cursor, found = backend.walk_states(self._cursor, STEP_STATES)
                self._current.add(found)
                if not self._cursor:
                    self._last, self._current = self._current, StateSummary()
                    self._ended = self._clock()
                    self._walking = False
                if self._clock() >= until:
                    return


class StateSearch(NamedTuple):
    """Holds the states that one step of a search found. ``cursor`` continues the search; ``""``: it has ended."""

    found: list[TaskState]
    looked_at: int
    cursor: str


def search_states(
    backend: Backend,
    fits: Callable[[TaskState], bool],
    cursor: str,
    most: int,
    narrow: Callable[[list[TaskState]], list[TaskState]] = lambda states: states,
) -> StateSearch:
    """Search states from a cursor on, for a bounded time, until ``most`` are found.

    All states of a step are returned, so there may be some more than ``most``.

    Args:
        backend: the backend.
        fits: returns True for a state that fits the search.
        cursor: the cursor of an earlier search; ``""``: search from the beginning.
        most: the number of states after which the search stops.
        narrow: drops some of the fitting states of a step, for a condition that needs a further read of the backend.
    """
    assert isinstance(backend, SupportsStateWalk)
    until = time.monotonic() + 2 * VIEW_BUDGET_S
    found: list[TaskState] = []
    looked_at = 0
    while True:
        cursor, part = backend.walk_states(cursor, STEP_STATES)
        states = [each for each in part if isinstance(each, TaskState)]
        looked_at += len(states)
        found += narrow([state for state in states if fits(state)])
        if not cursor or len(found) >= most or time.monotonic() >= until:
            return StateSearch(found, looked_at, cursor)
