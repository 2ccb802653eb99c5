"""Carries out the ordinary Commits (calls of tasks, and tasks that have succeeded) by a short script for each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.batching import divided
from gearmesh.interfaces.commit import Commit, Delivery, Token
from gearmesh.redis_client.chunks import MAX_BYTES, MAX_ENTRIES
from gearmesh.redis_client.runner import run, run_in_turn
from gearmesh.redis_client.state_text import pending_rest, plain_bytes
from gearmesh.wire.names import publish_token
from gearmesh.wire.state import PENDING, SUCCESS, ZERO_TIME, TaskState

__all__ = ["MIN_SETTLED", "PlainCommits", "SettledRows", "Sorted"]

#: Milliseconds for which Redis remembers a producer's last batch.
TOKEN_TTL_MS: Final = 600_000
#: Deliveries of one queue that get a call of their own when the flush needs the commit script for others anyway.
MIN_SETTLED: Final = 16
#: Bytes that a row takes beside its texts, rounded up.
ROW_BYTES: Final = 128

_encode = msgspec.json.Encoder().encode

#: A call of a task: (the state's key or b"", its document, whole or from behind the UUID on, the message).
_Called = tuple[bytes, bytes, bytes]
#: A delivery whose task has succeeded: (fetch id, the state's key or b"", the results).
_Settled = tuple[bytes, bytes, bytes]


class SettledRows(NamedTuple):
    """The deliveries from one queue that a call of ``settle.lua`` may settle, and their places among the Commits."""

    places: list[int]
    rows: list[_Settled]


class Sorted(NamedTuple):
    """The places of Commits by how they are carried out, in this order.

    Attributes:
        others: by ``commit.lua``.
        plain: by ``settle.lua``; by the key that holds their deliveries.
        asking: by ``commit.lua``, after the plain ones: the last Commit of each chord, which checks for all members
            among these Commits whether the group is complete. Its delivery stays unacked until this check: if the
            process dies before, another one receives the message and checks.
    """

    others: list[int]
    plain: dict[str, SettledRows]
    asking: list[int]


class PlainCommits:
    """Runs ``call.lua``, ``publish.lua`` and ``settle.lua``, which suffice for nearly all Commits.

    Args:
        held_key: returns the key of the hash in which a delivery's consumer holds it.
        expire: seconds that states live.
        announce: pub/sub channel for UUIDs that became final; "" for none.
    """

    def __init__(self, held_key: Callable[[Delivery], str], *, expire: int, announce: str) -> None:
        self._held_key = held_key
        self._expire = b"%d" % expire
        #: True: a state lives at least as long as a token, so it shows as well that a call was carried out.
        self._outlives_tokens = expire * 1000 >= TOKEN_TTL_MS
        self._announce = announce.encode()

    # -- calls of tasks

    def publish(self, client: Any, commits: Sequence[Commit], *, token: Token | None, atomic: bool) -> bool:
        """Carry out the Commits if all call tasks of one queue without an ETA; else return False and do nothing."""
        if len(commits) == 1 and atomic and commits[0].new_uuid and self._outlives_tokens:
            self._call(client, commits[0])
            return True
        rows = _called(commits, atomic)
        if rows is None:
            return False
        queue = commits[0].publishes[0].queue
        keys = [queue] if token is None else [queue, publish_token(queue, token.producer)]
        start = 0
        for chunk in divided(rows, _row_bytes, max_items=MAX_ENTRIES, max_bytes=MAX_BYTES):
            # text that sorts in the order of the producer's calls; see CommitScript._call
            place = b"" if token is None else b"%016d.%09d" % (token.seq, start)
            run(client, "publish", keys, self._publish_arguments(place, chunk))
            start += len(chunk)
        return True

    def _call(self, client: Any, commit: Commit) -> None:
        (publish,), (state,) = commit.publishes, commit.states
        uuid, rest = state.TaskUUID.encode(), pending_rest(state)
        document = rest if rest.startswith(b"{") else b'{"TaskUUID":"%b%b' % (uuid, rest)
        run(client, "call", [publish.queue, uuid], [document, self._expire, publish.body])

    def store(self, client: Any, states: Sequence[TaskState]) -> None:
        """Store states that are all PENDING."""
        parts = list(divided(states, _pending_bytes, max_items=MAX_ENTRIES, max_bytes=MAX_BYTES))
        run_in_turn(client, "publish", ["gearmesh"], parts, self._store_arguments)

    def _store_arguments(self, states: Sequence[TaskState]) -> list[bytes]:
        rows = [(state.TaskUUID.encode(), pending_rest(state), b"") for state in states]
        return self._publish_arguments(b"", rows)

    def _publish_arguments(self, place: bytes, rows: Sequence[_Called]) -> list[bytes]:
        arguments: list[bytes] = []
        last = b""
        for key, rest, _ in rows:
            if key:
                arguments += (key, b"" if rest == last else rest)
                last = rest
        states = b"%d" % (len(arguments) // 2)
        arguments += [body for _, _, body in rows if body]
        return [place, self._expire, b"%d" % TOKEN_TTL_MS, states, *arguments]

    # -- tasks that have succeeded

    def sort_out(self, commits: Sequence[Commit], atomic: bool) -> Sorted:
        """Sort Commits by the script that carries them out."""
        found: dict[str, SettledRows] = {}
        others: list[int] = []
        last = _last_members(commits) if atomic else {}
        queue = consumer = ""
        into: SettledRows | None = None
        for place, commit in enumerate(commits):
            chord = commit.chord
            asks = chord is not None and last.get(chord.group_uuid) == place
            row = None if asks else _settled(commit, atomic)
            if row is None:
                others.append(place)
                continue
            delivery = commit.settle.delivery  # type: ignore[union-attr]
            if into is None or delivery.queue != queue or delivery.consumer != consumer:
                queue, consumer = delivery.queue, delivery.consumer
                into = found.setdefault(self._held_key(delivery), SettledRows([], []))
            into.places.append(place)
            into.rows.append(row)
        if others or len(found) > 1:
            few = [held for held, some in found.items() if len(some.rows) < MIN_SETTLED]
            for held in few:
                others += found.pop(held).places
            others.sort()
        if not last or not found:
            return Sorted(others, found, [])
        asking = set(last.values())
        return Sorted([place for place in others if place not in asking], found, sorted(asking))

    def settle(self, client: Any, held: str, rows: Sequence[_Settled], atomic: bool) -> str:
        """Settle deliveries of one consumer and one queue; return a code for each, see ``settle.lua``."""
        head = [self._expire if atomic else b"", self._announce]
        codes = ""
        for chunk in divided(rows, _row_bytes, max_items=MAX_ENTRIES, max_bytes=MAX_BYTES):
            arguments = list(head)
            for row in chunk:
                arguments += row
            codes += run(client, "settle", [held], arguments).decode()
        return codes


def _called(commits: Sequence[Commit], atomic: bool) -> list[_Called] | None:
    """Return a row for each Commit if each sends one message to the same queue without an ETA; else None."""
    rows: list[_Called] = []
    queue = None
    for commit in commits:
        if (
            commit.settle is not None
            or len(commit.publishes) != 1
            or commit.trigger is not None
            or commit.chord is not None
        ):
            return None
        (publish,) = commit.publishes
        if publish.queue != queue:
            if queue is not None:
                return None
            queue = publish.queue
        if publish.eta_ns > 0 or not publish.body:
            return None
        if not atomic or not commit.states:
            rows.append((b"", b"", publish.body))
            continue
        if len(commit.states) > 1:
            return None
        (state,) = commit.states
        if state.State != PENDING or not state.TaskUUID:
            return None
        rows.append((state.TaskUUID.encode(), pending_rest(state), publish.body))
    return rows or None


def _last_members(commits: Sequence[Commit]) -> dict[str, int]:
    """Return the place of each chord's last member among these Commits."""
    places = enumerate(commits)
    return {commit.chord.group_uuid: place for place, commit in places if commit.chord is not None}


def _settled(commit: Commit, atomic: bool) -> _Settled | None:
    """Return the row of a Commit that acknowledges a first delivery, with SUCCESS or no state; None for any other."""
    settle = commit.settle
    if (
        settle is None
        or settle.how != "ack"
        or commit.publishes
        or commit.trigger is not None
        or settle.delivery.redelivered
    ):
        return None
    if not atomic or not commit.states:
        return b"%d" % settle.delivery.id, b"", b""
    if len(commit.states) > 1:
        return None
    (state,) = commit.states
    if (
        state.State != SUCCESS
        or state.Error
        or state.TaskName
        or state.TTL
        or state.CreatedAt != ZERO_TIME
        or not (uuid := plain_bytes(state.TaskUUID))
    ):
        return None
    return b"%d" % settle.delivery.id, uuid, _encode(state.Results)


def _pending_bytes(state: TaskState) -> int:
    if state.Results or state.Error:  # no caller stores such a state
        return ROW_BYTES + len(pending_rest(state))
    return ROW_BYTES + len(state.TaskUUID) + len(state.TaskName)


def _row_bytes(row: tuple[bytes, bytes, bytes]) -> int:
    return ROW_BYTES + len(row[0]) + len(row[1]) + len(row[2])
