"""Carries out Commits over one channel and one backend, atomic where they are the same server."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from gearmesh.commits.group_completion import Ended, groups_of
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.interfaces.transport import Channel, RedeliversOnDisconnect, SupportsStreaming, TellsLosses
from gearmesh.wire.state import TaskState

__all__ = ["Flusher"]

log = logging.getLogger("gearmesh.worker")


class _Step(msgspec.Struct, gc=False):
    """A Commit on its way through one flush.

    Attributes:
        final: the group and the final state of its member that has not been counted yet.
        outcome: None while the step goes on.
        asks: the step asks if its chord's group is complete.
        fires: the step has won its trigger.
        written: its states need not be written again, if the flush breaks off after messages were sent.
    """

    commit: Commit
    final: Ended | None = None
    outcome: Outcome | None = None
    asks: bool = False
    fires: bool = False
    written: bool = True

    def last_part(self) -> Commit:
        """Return the part of the Commit that the channel carries out."""
        commit = self.commit
        publishes = commit.publishes
        if self.fires and commit.trigger is not None:
            publishes = (*publishes, *commit.trigger.publishes)
        return Commit(publishes=publishes, settle=commit.settle, again=commit.again)


class Flusher:
    """Carries out Commits through one channel and one backend: in one step if both are the same Redis, else in several.

    Belongs to the channel's thread.
    """

    def __init__(self, channel: Channel, backend: Backend) -> None:
        self._channel = channel
        self._backend = backend
        self._groups = groups_of(backend)
        #: True if a Commit happens as a whole or not at all.
        self.atomic = channel.enlist(backend)
        #: The channel, if it knows which deliveries are lost; else None.
        self._telling = channel if isinstance(channel, TellsLosses) else None
        #: The channel, if its deliveries are lost with its connection; else None.
        self.drifting = channel if isinstance(channel, RedeliversOnDisconnect) else None
        #: The channel, if it takes a producer's next Commits before it has confirmed the earlier ones; else None.
        self.streaming = channel if isinstance(channel, SupportsStreaming) and not self.atomic else None
        #: for each Commit of the last flush: True if its states need not be written again; empty until that flush sends
        self._written: list[bool] = []

    def flush(
        self, commits: Sequence[Commit], token: Token | None = None, *, again: bool = False
    ) -> list[Outcome]:
        """Carry out Commits in order, and return the outcome of each.

        Raises the channel's or the backend's ``connection_errors`` when the outcome is unknown: the same call
        may be repeated (publishes only under the same ``token``). ``again``: an earlier call may have carried them out.
        """
        if self.atomic:
            return self._channel.commit(commits, token=token)
        self._written = []
        return self._split(commits, token, again)

    def remaining(self, commits: Sequence[Commit]) -> list[Commit]:
        """Return the Commits, or the parts of them, to flush again after a flush that broke off.

        Once messages were sent, the Commits come without the states that were written: the tasks of these messages may
        have begun, and may have written later states.
        """
        if not self._written:
            return list(commits)
        return [
            _without_states(commit) if written else commit
            for commit, written in zip(commits, self._written, strict=True)
        ]

    def release_group(self, group_uuid: str, by: str) -> None:
        """Give up the claim of the member ``by``, which will neither fire its group's chord nor be delivered again."""
        self._groups.finish(group_uuid, by, False)

    def _split(self, commits: Sequence[Commit], token: Token | None, again: bool) -> list[Outcome]:
        """Carry out the steps in Go's order, in which each step finds the data that it needs.

        A repeated flush writes the same states and gets the same triggers again, so only the last step needs a
        fence.
        """
        steps = [_Step(commit) for commit in commits]
        present = self._present(steps)
        # The broker redelivers a lost delivery, and that delivery does the rest. Now write only a final state.
        states = [
            state for step in present for state in step.commit.states if step.outcome is None or state.final
        ]
        steps_left = [step for step in present if step.outcome is None]
        states = self._not_over_results(states, steps_left)
        if states:
            self._backend.write(states)
        _choose_asking(steps_left)
        self._groups.count([step.final for step in present if step.final is not None and not step.asks])
        for step in steps_left:
            if step.asks or step.commit.trigger is not None:
                self._chord(step)
        self._written = [step.written for step in steps]
        settling = [step for step in steps_left if step.outcome is None]
        publishing = [step.last_part() for step in settling]
        if again and self.drifting is not None:
            done = self.drifting.commit(publishing, token=token, again=True)
        else:
            done = self._channel.commit(publishing, token=token)
        for step, outcome in zip(settling, done, strict=True):
            step.outcome = outcome
            if (trigger := step.commit.trigger) is not None:
                self._groups.finish(trigger.group_uuid, trigger.by, step.fires and outcome == "done")
        return [step.outcome or "done" for step in steps]

    def _present(self, steps: Sequence[_Step]) -> list[_Step]:
        """Return the steps whose groups are free now, with their final states, and mark those that were lost."""
        present: list[_Step] = []
        for step in steps:
            try:
                step.final = self._groups.look(step.commit)
            except ChordBusy:
                step.outcome, step.written = "retry_all", False
            else:
                present.append(step)
        if self._telling is not None:
            for step in present:
                settle, trigger = step.commit.settle, step.commit.trigger
                if settle is not None and self._telling.is_lost(settle):
                    step.outcome = "lost"
                    if trigger is not None:
                        self._groups.finish(trigger.group_uuid, trigger.by, False)
        return present

    def _not_over_results(self, states: list[TaskState], steps: Sequence[_Step]) -> list[TaskState]:
        """Leave out PENDING of tasks that have ended: a redelivered task may have sent its successors before."""
        doubtful = {
            state.TaskUUID
            for step in steps
            if (settle := step.commit.settle) is not None
            and settle.delivery.redelivered
            and not step.commit.fresh
            for state in step.commit.states
            if not state.final
        }
        if not doubtful or not self._backend.keeps:
            return states
        stored = self._backend.read(sorted(doubtful))
        ended = {state.TaskUUID for state in stored if state is not None and state.final}
        return [state for state in states if state.final or state.TaskUUID not in ended]

    def _chord(self, step: _Step) -> None:
        """Give the step the outcome that ends it here, or mark that it fires its trigger, or neither."""
        commit, trigger = step.commit, step.commit.trigger
        try:
            if commit.chord is not None and self._groups.complete(commit, step.final):
                step.outcome = "complete"
                return
            if trigger is None or not self._backend.trigger(trigger.group_uuid, trigger.by):
                return
        except ChordBusy:
            step.outcome, step.written = "retry_unwritten", trigger is None
            return
        except BackendError as exc:
            log.error("%s: its chord will not fire", exc)
            return
        self._backend.write(trigger.states)
        step.fires = True


def _without_states(commit: Commit) -> Commit:
    trigger = commit.trigger
    if trigger is not None:
        trigger = msgspec.structs.replace(trigger, states=())
    return msgspec.structs.replace(commit, states=(), trigger=trigger)


def _choose_asking(steps: Sequence[_Step]) -> None:
    """Mark one step for each group: it asks if the group is complete.

    The states of the group's other steps are counted first. A redelivered member is marked as well: it may have taken
    the trigger before.
    """
    groups: set[str] = set()
    for step in steps:
        commit, chord = step.commit, step.commit.chord
        if chord is None:
            continue
        if commit.settle is not None and (commit.settle.delivery.redelivered or commit.again):
            step.asks = True
        elif chord.group_uuid not in groups:
            groups.add(chord.group_uuid)
            step.asks = True
