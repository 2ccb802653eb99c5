"""Carries out Commits over one channel and one backend, atomic where they are the same server."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from gearmesh.commits.group_completion import Ended, groups_of
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.interfaces.transport import Channel, RedeliversOnDisconnect, SupportsStreaming
from gearmesh.wire.state import TaskState

__all__ = ["Flusher"]

log = logging.getLogger("gearmesh.worker")


class Flusher:
    """One flush is one script where broker and backend are one Redis; else states, publishes, settle.

    Belongs to the channel's thread.
    """

    def __init__(self, channel: Channel, backend: Backend) -> None:
        self._channel = channel
        self._backend = backend
        self._groups = groups_of(backend)
        #: True if a Commit happens as a whole or not at all.
        self.atomic = channel.enlist(backend)
        #: The channel as one whose deliveries are lost with its connection; else None.
        self.drifting = channel if isinstance(channel, RedeliversOnDisconnect) else None
        #: The channel as one that takes a producer's next Commits before it has confirmed those before; else None.
        self.streaming = channel if isinstance(channel, SupportsStreaming) and not self.atomic else None
        #: the last flush came so far that it sent something
        self._sent = False
        #: the indices of those of its commits that came not even so far that they wrote states
        self._unwritten: set[int] = set()

    def flush(
        self, commits: Sequence[Commit], token: Token | None = None, *, again: bool = False
    ) -> list[Outcome]:
        """Carry out Commits in order; one outcome each.

        Raises the channel's or the backend's ``connection_errors`` when the outcome is unknown: the same call
        may be repeated (publishes only under the same ``token``). ``again``: this may have happened before.
        """
        if self.atomic:
            return self._channel.commit(commits, token=token)
        self._sent = False
        return self._split(commits, token, again)

    def remaining(self, commits: Sequence[Commit]) -> list[Commit]:
        """The Commits, or parts of them, to flush again after a flush that broke off.

        States that were written are left out if something was sent: what followed from it may have begun, and may have
        written later ones.
        """
        if not self._sent:
            return list(commits)
        return [
            commit if i in self._unwritten else _without_states(commit) for i, commit in enumerate(commits)
        ]

    def release_group(self, group_uuid: str, by: str) -> None:
        """The member ``by`` will not fire its group's chord, nor come again."""
        self._groups.over(group_uuid, by, False)

    def _split(self, commits: Sequence[Commit], token: Token | None, again: bool) -> list[Outcome]:
        """Go's order: whatever a later step needs is there before it.

        A repeated flush writes the same states and finds its triggers its own: only the last step needs a
        fence.
        """
        busy, finals = self._groups.look(commits)
        self._unwritten = set(busy)
        outcomes: list[Outcome | None] = ["retry_all" if i in busy else None for i in range(len(commits))]
        todo = [(i, commit) for i, commit in enumerate(commits) if i not in busy]
        lost = self._lost(todo)
        for i in lost:
            outcomes[i] = "lost"
            if (trigger := commits[i].trigger) is not None:
                self._groups.over(trigger.group_uuid, trigger.by, False)
        # A lost delivery comes again and does what is left to do; only a result is kept for it.
        states = [state for i, commit in todo for state in commit.states if i not in lost or state.final]
        todo = [(i, commit) for i, commit in todo if i not in lost]
        states = self._not_over_results(states, todo)
        if states:
            self._backend.write(states)
        asking = _asking(todo)
        self._groups.count([final for i, final in finals.items() if i not in asking])
        rest: list[tuple[int, Commit]] = []
        fired: set[int] = set()
        for i, commit in todo:
            won = False
            if i in asking or commit.trigger is not None:
                outcomes[i], won = self._chord(commit, finals.get(i))
                if outcomes[i] == "retry_unwritten" and commit.trigger is not None:
                    self._unwritten.add(i)
            if outcomes[i] is None:
                publishes = commit.publishes
                if commit.trigger is not None and won:
                    fired.add(i)
                    publishes = (*publishes, *commit.trigger.publishes)
                rest.append((i, Commit(publishes=publishes, settle=commit.settle, again=commit.again)))
        self._sent = True
        settling = [commit for _, commit in rest]
        if again and self.drifting is not None:
            done = self.drifting.commit(settling, token=token, again=True)
        else:
            done = self._channel.commit(settling, token=token)
        for (i, _), outcome in zip(rest, done, strict=True):
            outcomes[i] = outcome
            if (trigger := commits[i].trigger) is not None:
                self._groups.over(trigger.group_uuid, trigger.by, i in fired and outcome == "done")
        return [outcome or "done" for outcome in outcomes]

    def _not_over_results(
        self, states: list[TaskState], commits: Sequence[tuple[int, Commit]]
    ) -> list[TaskState]:
        """Without the PENDING of what has ended since: a redelivered task's successors may have been sent before."""
        doubtful = {
            state.TaskUUID
            for _, commit in commits
            if commit.settle is not None and commit.settle.delivery.redelivered and not commit.fresh
            for state in commit.states
            if not state.final
        }
        if not doubtful or not self._backend.keeps:
            return states
        stored = self._backend.read(sorted(doubtful))
        ended = {state.TaskUUID for state in stored if state is not None and state.final}
        return [state for state in states if state.final or state.TaskUUID not in ended]

    def _lost(self, commits: Sequence[tuple[int, Commit]]) -> set[int]:
        """The Commits whose deliveries are known to belong to another consumer by now."""
        drifting = self.drifting
        if drifting is None:
            return set()
        return {i for i, commit in commits if commit.settle is not None and drifting.is_lost(commit.settle)}

    def _chord(self, commit: Commit, final: Ended | None) -> tuple[Outcome | None, bool]:
        """An outcome that ends the commit here, or None; and whether it has won its trigger."""
        try:
            if commit.chord is not None and self._groups.complete(commit, final):
                return "complete", False
            trigger = commit.trigger
            if trigger is None or not self._backend.trigger(trigger.group_uuid, trigger.by):
                return None, False
        except ChordBusy:
            return "retry_unwritten", False
        except BackendError as exc:
            log.error("%s: its chord will not fire", exc)
            return None, False
        self._backend.write(trigger.states)
        return None, True


def _without_states(commit: Commit) -> Commit:
    trigger = commit.trigger
    if trigger is not None:
        trigger = msgspec.structs.replace(trigger, states=())
    return msgspec.structs.replace(commit, states=(), trigger=trigger)


def _asking(commits: Sequence[tuple[int, Commit]]) -> set[int]:
    """The indices of those that ask for their chord's group: of several in one group, one.

    The states of the others were counted before. A redelivered member asks for itself: it may have taken the trigger.
    """
    asking: set[int] = set()
    groups: set[str] = set()
    for i, commit in commits:
        if commit.chord is None:
            continue
        if commit.settle is not None and (commit.settle.delivery.redelivered or commit.again):
            asking.add(i)
        elif commit.chord.group_uuid not in groups:
            groups.add(commit.chord.group_uuid)
            asking.add(i)
    return asking
