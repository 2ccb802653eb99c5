"""Sends the signatures of a run, collects their states, and removes every trace of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from gearmesh.app.app import App
from gearmesh.app.canvas import AnyNode
from gearmesh.errors import GearmeshError, LocalProtocolError, RemoteProtocolError
from gearmesh.ids import new_uuid
from gearmesh.inspection.broker import channel_to, inspecting
from gearmesh.redis_client.scanning import scan_step
from gearmesh.verify.report import AGREES, DIFFERS, NOT_AVAILABLE, Row, Verdict
from gearmesh.wire.names import publish_token
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import FAILURE, SUCCESS, TaskResult, TaskState
from gearmesh.wire.types import load

__all__ = ["Check", "Exchange", "rows_of"]

#: Seconds between two reads of the states that are awaited.
POLL_INTERVAL_S: Final = 0.05
#: States that are read at once.
MAX_READ_STATES: Final = 500
#: Characters with a special meaning in SCAN's patterns.
_GLOB: Final = re.compile(r"[\\*?\[\]^-]")
#: Keys that Redis looks at for one SCAN.
SCAN_COUNT: Final = 1000
#: Seconds for which the run empties its queues, since a Go worker may put a message back if it does not know the task.
CLEANING_S: Final = 1.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One task whose state the run awaits, and the results or the error that it must have.

    Attributes:
        direction, subject: its row in the report.
        uuid: the task's; ``""``: it could not be sent.
        sent: a description of the call, for people.
        results: the results that the state must have; None: the task must fail.
        error: the text with which it must fail.
        after: the UUID of the task before it; ``""``: it is the first.
        refused: the reason why it could not be sent; ``""``: it was sent.
    """

    direction: str
    subject: str
    uuid: str
    sent: str
    results: tuple[TaskResult, ...] | None = None
    error: str = ""
    after: str = ""
    refused: str = ""


class Exchange:
    """Holds the messages and states of one run.

    Args:
        app: an app whose default queue is that of the workers, and whose tasks run on ``own_queue``.
        own_queue: the queue of the run's own Python worker.
        timeout: seconds after which the run stops waiting if no state has changed.
    """

    def __init__(self, app: App, own_queue: str, timeout: float) -> None:
        self.app = app
        self.own_queue = own_queue
        self._timeout = timeout
        self._uuids: list[str] = []
        self._states: dict[str, TaskState] = {}

    def signature(self, name: str, *args: Arg, own: bool = False, **fields: Any) -> Signature:
        """Make a signature for the workers, or for the run's own worker. :meth:`clean` removes its state."""
        uuid = f"task_{new_uuid()}"
        self._uuids.append(uuid)
        queue = self.own_queue if own else self.app.default_routing_key
        return Signature(UUID=uuid, Name=name, RoutingKey=queue, Args=args, Headers={}, **fields)

    def send(self, sig: Signature, checks: Sequence[Check]) -> list[Check]:
        """Send a signature and return its checks; the checks say ``refused`` if this process may not send it."""
        try:
            self.app.send(sig)
        except LocalProtocolError as exc:
            return [msgspec.structs.replace(check, uuid="", refused=str(exc)) for check in checks]
        return list(checks)

    def send_workflow(self, node: AnyNode) -> Any:
        """Send a workflow and return its result."""
        result = self.app.send(node)
        self._uuids += [task.uuid for task in result.tasks]
        for each in (result, getattr(result, "parent", None)):
            if uuid := getattr(each, "uuid", ""):
                self._uuids.append(uuid)
        return result

    def wait(self, checks: Iterable[Check], pause: float = 0.0) -> None:
        """Wait until all tasks have ended, or until no state has changed for the timeout.

        ``pause``: seconds to add to the timeout because tasks are delayed.
        """
        awaited = {check.uuid for check in checks if check.uuid}
        patience = self._timeout + pause
        deadline = time.monotonic() + patience
        while awaited and time.monotonic() < deadline:
            batch = sorted(awaited)
            for start in range(0, len(batch), MAX_READ_STATES):
                for state in self.app.states(batch[start : start + MAX_READ_STATES]):
                    if state is None:
                        continue
                    before = self._states.get(state.TaskUUID)
                    if before is None or before.State != state.State:
                        deadline = time.monotonic() + patience
                    self._states[state.TaskUUID] = state
                    if state.State in (SUCCESS, FAILURE):
                        awaited.discard(state.TaskUUID)
            if awaited:
                time.sleep(POLL_INTERVAL_S)

    def state(self, uuid: str) -> TaskState | None:
        """Return the last state that was read; None if there is none."""
        return self._states.get(uuid)

    def judge(self, check: Check) -> tuple[Verdict, str]:
        """Compare one state with its check. Return the verdict and its reason."""
        state = self.state(check.uuid)
        if check.refused:
            return NOT_AVAILABLE, f"not sent: {check.refused}"
        before = self.state(check.after)
        if state is None or state.State not in (SUCCESS, FAILURE):
            if check.after and (before is None or before.State not in (SUCCESS, FAILURE)):
                return NOT_AVAILABLE, "the task before it gave no answer"
            if check.after and before is not None and before.State == FAILURE and not check.error:
                return NOT_AVAILABLE, f"the task before it failed: {before.Error}"
            reached = "no state" if state is None else f"state {state.State}"
            return (
                NOT_AVAILABLE,
                f"sent {check.sent}: no answer within {self._timeout:g} s ({reached}); is the task "
                "registered in each worker of the queue?",
            )
        if check.results is None:
            if state.State == FAILURE and state.Error == check.error:
                return AGREES, ""
            return DIFFERS, f"sent {check.sent}: {_outcome(state)}, expected the error {check.error!r}"
        if state.State == FAILURE:
            return DIFFERS, f"sent {check.sent}: {_outcome(state)}"
        got, want = [_shown(each) for each in state.Results or ()], [_shown(each) for each in check.results]
        if got != want:
            return (
                DIFFERS,
                f"sent {check.sent}: got {', '.join(got) or 'nothing'}, expected {', '.join(want)}",
            )
        return AGREES, ""

    def clean(self) -> list[str]:
        """Remove all messages and states of the run; return descriptions of those that remain.

        The queues had no message when the run began, so every message in them is its own.
        """
        left: list[str] = []
        try:
            with channel_to(self.app) as channel:
                deadline = time.monotonic() + CLEANING_S
                unanswered = any(state.State not in (SUCCESS, FAILURE) for state in self._states.values())
                while True:
                    for queue in (self.app.default_queue, self.own_queue):
                        _empty(channel, queue)
                    if not unanswered or time.monotonic() > deadline:
                        break
                    time.sleep(POLL_INTERVAL_S)
                _forget_producers(channel, (self.app.default_queue, self.own_queue))
        except GearmeshError as exc:
            left.append(f"messages: {exc}")
        try:
            self.app.forget(self._uuids)
        except GearmeshError as exc:
            left.append(f"states: {exc}")
        return left


def _empty(channel: Any, queue: str) -> None:
    inspector = inspecting(channel)
    inspector.purge(queue)
    with suppress(GearmeshError):  # this broker does not list delayed messages
        inspector.purge_delayed(queue)
    if ids := [letter.id for letter in channel.dead_letters(queue)]:
        channel.take_dead(queue, ids, retry=False)


def _forget_producers(channel: Any, queues: Iterable[str]) -> None:
    """Delete the keys in which Redis records the last batch of each producer, before they expire."""
    redis = getattr(channel, "redis", None)
    if redis is None:
        return
    for queue in queues:
        token, cursor = publish_token(queue, ""), ""
        while True:
            cursor, keys = scan_step(
                redis, cursor, match=_GLOB.sub(r"\\\g<0>", token) + "*", count=SCAN_COUNT
            )
            for key in keys:
                redis.delete(key)
            if not cursor:
                break


def _shown(result: TaskResult) -> str:
    try:
        return f"{result.Type} {_text(load(result.Type, result.Value))}"
    except RemoteProtocolError as exc:
        return f"{result.Type}, which cannot be read: {exc}"


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _outcome(state: TaskState) -> str:
    if state.State == FAILURE:
        return f"it failed: {state.Error}"
    return f"it gave {', '.join(map(_shown, state.Results or ())) or 'nothing'}"


def rows_of(checks: Iterable[Check], judge: Callable[[Check], tuple[Verdict, str]]) -> list[Row]:
    """Return one row for each direction and subject, with the worst verdict of its checks."""
    verdicts: dict[tuple[str, str], list[tuple[Verdict, str]]] = {}
    for check in checks:
        verdicts.setdefault((check.direction, check.subject), []).append(judge(check))
    rows = []
    for (direction, subject), found in verdicts.items():
        worst = next((each for each in found if each[0] == DIFFERS), None)
        worst = worst or next((each for each in found if each[0] == NOT_AVAILABLE), (AGREES, ""))
        rows.append(
            Row(direction=direction, subject=subject, verdict=worst[0], detail=worst[1], checked=len(found))
        )
    return rows
