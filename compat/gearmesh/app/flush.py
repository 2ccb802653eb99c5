"""Carries out Commits over one channel and one backend, fused where they are the same server."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from gearmesh.backends.base import Backend
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.transports.base import Channel
from gearmesh.wire.commit import Commit, Outcome, Token
from gearmesh.wire.state import GroupMeta

__all__ = ["Flusher"]

log = logging.getLogger("gearmesh.worker")

#: Group metas remembered between the completions of their members.
METAS = 256


class Flusher:
    """One flush is one script where broker and backend are one Redis; else states, publishes, settle.

    Belongs to the channel's thread.
    """

    def __init__(self, channel: Channel, backend: Backend) -> None:
        self._channel = channel
        self._backend = backend
        self._metas: OrderedDict[str, GroupMeta] = OrderedDict()
        #: True if a Commit happens as a whole or not at all.
        self.fused = channel.fuse(backend)

    def flush(self, commits: Sequence[Commit], token: Token | None = None) -> list[Outcome]:
        """Carry out Commits in order; one outcome each.

        Raises the channel's or the backend's ``connection_errors`` when the outcome is unknown: the same call
        may be repeated (publishes only under the same ``token``).
        """
        if self.fused:
            return self._channel.commit(commits, token=token)
        return self._split(commits, token)

    def _split(self, commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        """Go's order: whatever a later step needs is there before it.

        A repeated flush writes the same states and finds its triggers its own: only the last step needs a
        fence.
        """
        outcomes: list[Outcome | None] = [None] * len(commits)
        states = [state for commit in commits for state in commit.states]
        if states:
            self._backend.write(states)
        rest = []
        for i, commit in enumerate(commits):
            outcome, commit = self._look_after_chord(commit)
            if outcome is None:
                rest.append((i, msgspec.structs.replace(commit, states=(), chord=None, trigger=None)))
            outcomes[i] = outcome
        for (i, _), outcome in zip(
            rest, self._channel.commit([commit for _, commit in rest], token=token), strict=True
        ):
            outcomes[i] = outcome
        return [outcome or "done" for outcome in outcomes]

    def _look_after_chord(self, commit: Commit) -> tuple[Outcome | None, Commit]:
        """An outcome that ends the commit here, or the commit with all that it has to send."""
        if commit.chord is not None:
            meta = self._meta(commit.chord.group_uuid)
            # Go: a group whose meta is gone, or names another number of members, never fires.
            if (
                meta is not None
                and len(meta.TaskUUIDs) == commit.chord.count
                and self._backend.finished(meta)
            ):
                return "complete", commit
        trigger = commit.trigger
        if trigger is not None:
            try:
                won = self._backend.trigger(trigger.group_uuid, trigger.by)
            except ChordBusy:
                return "busy", commit
            if won:
                self._backend.write(trigger.states)
                publishes = (*commit.publishes, *trigger.publishes)
                return None, msgspec.structs.replace(commit, publishes=publishes)
        return None, commit

    def _meta(self, group_uuid: str) -> GroupMeta | None:
        try:
            meta = self._metas.get(group_uuid) or self._backend.read_group(group_uuid)
        except BackendError as exc:
            # The member is done all the same. Go: its group never fires.
            log.error("%s; its chord will not fire", exc)
            return None
        if meta is not None:
            self._metas[group_uuid] = meta
            self._metas.move_to_end(group_uuid)
            while len(self._metas) > METAS:
                self._metas.popitem(last=False)
        return meta
