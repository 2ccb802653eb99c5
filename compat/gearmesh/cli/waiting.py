"""Waits for tasks, and shows their progress on a terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gearmesh.app.app import App
from gearmesh.cli.common import Place
from gearmesh.cli.exit_codes import EXIT_INTERRUPTED
from gearmesh.cli.options import seconds_option
from gearmesh.cli.output import console, note
from gearmesh.cli.show import progress_text
from gearmesh.errors import ResultTimeout
from gearmesh.units import counted
from gearmesh.wire.state import PENDING, RECEIVED, RETRY, STARTED, TaskState

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

__all__ = ["EXIT_TIMEOUT", "bars", "look_later", "tell_timeout", "timeout_option", "wait_for"]

#: Exit code if some tasks have not ended in time.
EXIT_TIMEOUT: Final = 3
#: Seconds between two updates of the progress bar.
UPDATE_INTERVAL_S: Final = 0.5
#: Number of states that a wait for many tasks reads in one second.
MAX_READS_PER_S: Final = 5_000

#: States in the words of a progress bar.
_WORDS: Final = {PENDING: "not started", RECEIVED: "received", STARTED: "running", RETRY: "to be retried"}

#: ``--timeout`` of a command that waits; 0: no limit.
timeout_option = seconds_option(
    "--timeout", "With --wait: stop waiting after this time; 0: never.", least=0, default=60.0
)


def bars(unit: str = "") -> Bars:
    """Make progress bars on standard error, which disappear when they end; no bars if that is not a terminal.

    ``unit``: the unit of the count beside the bar; ``""`` shows no count.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    screen = console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        *([MofNCompleteColumn(), TextColumn(unit)] if unit else []),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def wait_for(app: App, uuids: Sequence[str], timeout: float, later: str, more: str = "") -> bool:
    """Wait until all these tasks have ended; False if that takes longer than ``timeout`` seconds (0: no limit).

    Ctrl-C ends the command.

    Args:
        later: the command line that shows the tasks later; see :func:`look_later`.
        more: words about the tasks, for the note that Ctrl-C prints.
    """
    deadline = time.monotonic() + timeout if timeout else float("inf")
    try:
        if len(uuids) == 1:
            return _wait_for_one(app, uuids[0], deadline)
        return _wait_for_many(app, uuids, deadline)
    except KeyboardInterrupt:
        note(f"not waiting any more{more}. Look later with: {later}", "yellow")
        sys.exit(EXIT_INTERRUPTED)


def _wait_for_one(app: App, uuid: str, deadline: float) -> bool:
    result = app.result(uuid)
    with bars() as shown:
        bar = shown.add_task(f"{uuid} {PENDING}", total=None)
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                result.wait(timeout=min(UPDATE_INTERVAL_S, left))
                return True
            except ResultTimeout:
                if left <= UPDATE_INTERVAL_S:
                    return False
            if shown.disable:
                continue
            progress = result.progress
            told = f": {progress_text(progress)}" if progress else ""
            shown.update(
                bar,
                description=f"{uuid} {result.state}{told}",
                completed=progress.done if progress else 0,
                total=progress.total if progress else None,
            )


def _wait_for_many(app: App, uuids: Sequence[str], deadline: float) -> bool:
    waiting = list(uuids)
    ended: Counter[str] = Counter()
    with bars("tasks") as shown:
        bar = shown.add_task(f"waiting for {counted(len(uuids), 'task')}", total=len(uuids))
        while True:
            states = app.states(waiting)
            now = Counter(state.State if state else PENDING for state in states)
            ended.update(state.State for state in states if state and state.final)
            waiting = [
                uuid for uuid, state in zip(waiting, states, strict=True) if state is None or not state.final
            ]
            if not waiting:
                return True
            said = ", ".join(f"{now[state]:,} {words}" for state, words in _WORDS.items() if now[state])
            failed = f", {ended['FAILURE']:,} failed" if ended["FAILURE"] else ""
            shown.update(bar, completed=len(uuids) - len(waiting), description=said + failed)
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, max(UPDATE_INTERVAL_S, len(waiting) / MAX_READS_PER_S)))


def look_later(command: str, uuids: Sequence[str], place: Place) -> str:
    """The command line that shows these tasks or groups later."""
    where = [("-A", place.spec), ("--config", place.config)]
    options = "".join(f" {name} {value}" for name, value in where if value)
    return f"gearmesh {command} {' '.join(uuids)}{options}"


def tell_timeout(timeout: float, state: TaskState | None, reason: str | None, later: str) -> None:
    """Print that the result did not come in time, the meaning of the task's state, and the command to look again.

    ``reason``: the reason why the task is PENDING; None: not known, or in another state.
    """
    found = state.State if state else PENDING
    meaning = {
        PENDING: reason,
        RECEIVED: "a worker has received it and not begun it",
        STARTED: "a worker runs it",
        RETRY: "it failed and waits for its next try",
    }.get(found)
    note(
        f"no result within {timeout:g} s: the task is {found}{f', {meaning}' if meaning else ''}. "
        f"Look later with: {later}",
        "yellow",
    )
