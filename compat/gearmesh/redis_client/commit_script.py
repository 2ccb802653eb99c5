"""Packs Commits for ``commit.lua`` and reads its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgpack
import redis
from redis import exceptions

from gearmesh.commits.group_cache import CachedGroup, GroupCache
from gearmesh.errors import BackendError, LocalProtocolError, RemoteProtocolError
from gearmesh.interfaces.commit import (
    Commit,
    Delivery,
    Outcome,
    Publish,
    Settle,
    Token,
    Trigger,
    heads_last,
)
from gearmesh.redis_client.chunks import chunks
from gearmesh.redis_client.plain_commits import PlainCommits, Sorted
from gearmesh.redis_client.replicas import Replicas
from gearmesh.redis_client.runner import run
from gearmesh.redis_client.state_text import Packed, pack_state
from gearmesh.wire.codec import decode_group, decode_state, encode_group, encode_state
from gearmesh.wire.names import DELAYED_TASKS, QueueKeys, chord_progress, chord_taker, publish_token
from gearmesh.wire.state import TaskState

__all__ = ["Batch", "CommitScript", "Entry", "payload_bytes"]

log = logging.getLogger("gearmesh.redis")

_SETTLE_CODES = {"keep": 0, "ack": 1, "head": 2, "tail": 3, "park": 4, "dead": 5, "later": 6}
_OUTCOMES: dict[str, Outcome] = {
    "1": "done",
    "t": "done",
    "g": "done",
    "0": "lost",
    "c": "complete",
    "b": "retry_all",
    "x": "expired",
}


#: The answer for a batch whose token shows that it was carried out before.
_DUP = "dup"
_DOCUMENTS = {"state": "TaskState", "group": "GroupMeta"}


class Entry(NamedTuple):
    """Names the parts of one entry of ``commit.lua``'s payload. A Commit's entry is a plain tuple in this order, since
    every task makes one and a plain tuple is quicker.

    Attributes:
        held: key of the hash in which the consumer holds the delivery; "": the entry settles nothing.
        id: the delivery's number.
        how: a value of ``_SETTLE_CODES``.
        states: packed states to write.
        publishes: packed publishes to send.
        group: 1-based index of the group whose progress is checked; 0 for none.
        trigger: (GroupMeta key, taker key, taker, states, publishes, [True: the caller has the chord mutex]), or None.
        settling: the keys that ``how`` needs, or None.
    """

    held: str = ""
    id: str = ""
    how: int = 0
    states: Sequence[Packed] = ()
    publishes: Sequence[Packed] = ()
    group: int = 0
    trigger: Packed | None = None
    settling: Packed | None = None


class Batch(NamedTuple):
    """The entries of one call of the script, with its groups, route and token.

    Attributes:
        groups: the groups to which entries refer by their index.
        route: the key in whose slot all keys of the call are.
        token: the key of the producer's token and the place of this call among its calls, or two empty texts.
        more: the optional values at the payload's end, see the script.
        ended: about how many members of groups have ended through other calls, besides those of the entries: the
            payload names as many more members of each group.
    """

    entries: Sequence[Packed]
    groups: Sequence[CachedGroup] = ()
    route: str = "gearmesh"
    token: tuple[str, str] = ("", "")
    more: tuple[Any, ...] = ()
    ended: int = 0


def _pack_trigger(trigger: Trigger) -> tuple[Any, ...]:
    return (
        trigger.group_uuid,
        chord_taker(trigger.group_uuid),
        trigger.by,
        [pack_state(state) for state in trigger.states],
        _pack_publishes(trigger.publishes),
    )


def _pack_publishes(publishes: Sequence[Publish]) -> list[Packed]:
    return [(p.queue, p.body, str(p.eta_ns) if p.eta_ns > 0 else "") for p in publishes]


def payload_bytes(entry: Packed) -> int:
    """Estimate the bytes that an entry takes in the payload."""
    size = 128 + len(entry[0])
    for state in entry[3]:
        size += len(state[1]) + len(state[-1])
    for publish in entry[4]:
        size += len(publish[1])
    if len(entry) > 6 and entry[6] is not None:
        size += sum(len(state[1]) + len(state[-1]) for state in entry[6][3])
        size += sum(len(publish[1]) for publish in entry[6][4])
    if len(entry) > 8:
        size += sum(len(publish[1]) for publish in entry[8])
    return size


class CommitScript:
    """Runs ``commit.lua`` for one Redis server and database.

    Args:
        keys: gives the key names around a queue.
        expire: seconds that states live.
        delayed: key of the delayed set.
        announce: pub/sub channel for UUIDs that became final; "" for none.
        groups: the members of groups; None: the script triggers no chord.
        replicas: the number of replicas to wait for at the end of a commit.
    """

    def __init__(
        self,
        *,
        keys: Callable[[str], QueueKeys],
        expire: int,
        delayed: str = DELAYED_TASKS,
        announce: str = "",
        groups: GroupCache | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self._keys = keys
        self._pack = _pack_publishes
        self._held: dict[tuple[str, str], str] = {}
        self.expire = expire
        self._delayed = delayed
        self._announce = announce
        self._replicas = replicas or Replicas()
        self._plain = PlainCommits(self._held_key, expire=expire, announce=announce)
        self._look_up = groups.get if groups is not None else (lambda uuid: None)
        self._finished = groups.note if groups is not None else (lambda uuid, known: None)
        self._ended = groups.ended if groups is not None else (lambda uuid, members: None)

    def commit(
        self, client: redis.Redis, commits: Sequence[Commit], *, token: Token | None = None, atomic: bool
    ) -> list[Outcome]:
        """Carry out Commits; see :meth:`gearmesh.interfaces.transport.Channel.commit`.

        Args:
            atomic: write states and trigger chords in the same step, since they are in this database.
        """
        if len(commits) > 1 and [c for c in commits if c.settle is not None and c.settle.how == "head"]:
            order = sorted(range(len(commits)), key=lambda i: heads_last(commits[i]))
            sent = self._in_order(client, [commits[i] for i in order], token, atomic)
            outcomes = [outcome for _, outcome in sorted(zip(order, sent, strict=True))]
        else:
            outcomes = self._in_order(client, commits, token, atomic)
        self._replicas.wait(client, self._route(commits))
        return outcomes

    def store_pending(self, client: redis.Redis, states: Sequence[TaskState]) -> None:
        """Store states that are all PENDING."""
        self._plain.store(client, states)

    def _in_order(
        self, client: redis.Redis, commits: Sequence[Commit], token: Token | None, atomic: bool
    ) -> list[Outcome]:
        if token is not None or (commits and commits[0].settle is None):
            if self._plain.publish(client, commits, token=token, atomic=atomic):
                return ["done"] * len(commits)
        else:
            places = self._plain.sort_out(commits, atomic)
            if places.plain:
                return self._mixed(client, commits, places, atomic)
        return self._all_kinds(client, commits, token, atomic)

    def _mixed(
        self,
        client: redis.Redis,
        commits: Sequence[Commit],
        sorted_out: Sorted,
        atomic: bool,
    ) -> list[Outcome]:
        """Carry out other Commits first, as they may hold earlier states of the same tasks; then ``settle.lua``'s."""
        outcomes: list[Outcome] = ["done"] * len(commits)

        def carry_out(places: list[int]) -> None:
            some = [commits[place] for place in places]
            done = self._all_kinds(client, some, None, atomic, ended=len(commits))
            for place, outcome in zip(places, done, strict=True):
                outcomes[place] = outcome

        if sorted_out.others:
            carry_out(sorted_out.others)
        unsettled: list[int] = []
        for held, (places, rows) in sorted_out.plain.items():
            codes = self._plain.settle(client, held, rows, atomic)
            if codes.strip("1"):
                for place, code in zip(places, codes, strict=True):
                    if code == "0":
                        outcomes[place] = "lost"
                unsettled += [place for place, code in zip(places, codes, strict=True) if code == "?"]
            if sorted_out.asking:
                self._note_ended([commits[place] for place in places], codes)
        if unsettled or sorted_out.asking:
            carry_out([*unsettled, *sorted_out.asking])
        return outcomes

    def _note_ended(self, commits: Sequence[Commit], codes: str) -> None:
        """Remember the chord members among these Commits whose SUCCESS was stored: the next check whether their group
        is complete need not read their states."""
        ended: dict[str, list[str]] = {}
        for commit, code in zip(commits, codes, strict=True):
            if code == "1" and commit.chord is not None and commit.states:
                ended.setdefault(commit.chord.group_uuid, []).append(commit.states[0].TaskUUID)
        for uuid, members in ended.items():
            self._ended(uuid, members)

    def _all_kinds(
        self,
        client: redis.Redis,
        commits: Sequence[Commit],
        token: Token | None,
        atomic: bool,
        ended: int = 0,
    ) -> list[Outcome]:
        """Carry out Commits of any kinds by the commit script.

        Args:
            ended: about how many members of groups have ended since a Commit last checked whether they are complete.
        """
        entries = [self._entry(c, atomic) for c in commits]
        if len(entries) == 1:
            return self._call(client, commits, entries, atomic, token=token, ended=ended)
        outcomes: list[Outcome] = []
        for chunk in chunks(entries, payload_bytes):
            start = len(outcomes)
            part = commits[start : start + len(chunk)]
            outcomes += self._call(client, part, chunk, atomic, token=token, start=start, ended=ended)
        return outcomes

    def _entry(self, commit: Commit, atomic: bool) -> Packed:
        held = id_ = ""
        how, settling, trigger = 0, None, None
        settle = commit.settle
        if settle is not None:
            delivery = settle.delivery
            held = self._held_key(delivery)
            id_, how = str(delivery.id), _SETTLE_CODES[settle.how]
            if how > 1 or delivery.redelivered:
                settling = self._settling(settle, self._keys(delivery.queue))
        states: Sequence[Any] = ()
        if atomic:
            states = [pack_state(s) for s in commit.states]
            if commit.trigger is not None:
                trigger = _pack_trigger(commit.trigger)
        publishes = self._pack(commit.publishes) if commit.publishes else ()
        if trigger is None and settling is None:
            return (held, id_, how, states, publishes, 0)
        return (held, id_, how, states, publishes, 0, trigger, settling)

    def _held_key(self, delivery: Delivery) -> str:
        spot = (delivery.queue, delivery.consumer)
        key = self._held.get(spot)
        if key is None:
            if len(self._held) > 1000:
                self._held.clear()
            key = self._held[spot] = self._keys(delivery.queue).held(delivery.consumer)
        return key

    @staticmethod
    def _settling(settle: Settle, keys: QueueKeys) -> tuple[Any, ...]:
        delivery = settle.delivery
        recovered = keys.recovered if delivery.redelivered else ""
        member = f"{delivery.consumer}/{delivery.id}"
        if settle.how == "park":
            age = int(settle.max_age * 1000)
            dead = (keys.dead, keys.dead_entry, settle.reason)
            return (keys.queue, recovered, keys.seen, keys.aside, member, age, *dead, keys.out, keys.wanted)
        if settle.how == "later":
            return (keys.queue, recovered, keys.aside, member, settle.at_ns // 1_000_000)
        if settle.how == "dead":
            return (keys.queue, recovered, keys.dead, keys.dead_entry, settle.reason)
        return (keys.queue, recovered)

    def _call(
        self,
        client: redis.Redis,
        commits: Sequence[Commit],
        entries: Sequence[Packed],
        atomic: bool,
        *,
        token: Token | None = None,
        start: int = 0,
        ended: int = 0,
    ) -> list[Outcome]:
        groups: list[CachedGroup] = []
        if atomic and any(commit.chord is not None for commit in commits):
            entries, groups = self._with_groups(commits, entries)
        route = self._route(commits)
        key = place = ""
        if token is not None:  # each call of a batch has its own place: a repetition skips those done
            key = publish_token(route, token.producer)
            place = f"{token.seq:016d}.{start:09d}"  # text that sorts in the order of the producer's calls
        answer, problems = self._run(client, Batch(entries, groups, route, (key, place), ended=ended))
        if answer is None or not answer.strip("1"):
            return ["done"] * len(commits)
        outcomes = [_OUTCOMES.get(code, "done") for code in answer]
        bad = [i for i, code in enumerate(answer) if code == "e"]
        for i, why in zip(bad, problems, strict=True):
            outcomes[i] = self._dead_letter(client, commits[i], why)
        again = [i for i, code in enumerate(answer) if code == "m"]
        if again:
            more = self._call(
                client, [commits[i] for i in again], [entries[i] for i in again], atomic, ended=ended
            )
            for i, outcome in zip(again, more, strict=True):
                outcomes[i] = outcome
        return outcomes

    def _dead_letter(self, client: redis.Redis, commit: Commit, why: str) -> Outcome:
        """Dead-letter a delivery whose Commit can never be carried out; nothing of the Commit has happened."""
        settle = commit.settle
        assert settle is not None  # without it, the script raises an error
        log.error("a delivery from %s cannot be committed: %s", settle.delivery.queue, why)
        if settle.how == "keep":
            return "done"
        dead = Commit(settle=Settle(settle.delivery, "dead", f"commit failed: {why}"))
        return self._call(client, [dead], [self._entry(dead, False)], False)[0]

    def _route(self, commits: Iterable[Commit]) -> str:
        for commit in commits:
            if commit.settle is not None:
                return commit.settle.delivery.queue
            for publish in commit.publishes:
                return publish.queue
        return "gearmesh"

    def _with_groups(
        self, commits: Sequence[Commit], entries: Sequence[Packed]
    ) -> tuple[list[Packed], list[CachedGroup]]:
        """Return the entries with the index of each chord member's group, and these groups."""
        groups: dict[str, tuple[int, CachedGroup]] = {}
        result: list[Packed] = []
        for commit, entry in zip(commits, entries, strict=True):
            chord = commit.chord
            if chord is None:
                result.append(entry)
                continue
            known = groups.get(chord.group_uuid)
            if known is None:
                group, why = None, ""
                try:
                    group = self._look_up(chord.group_uuid)
                except (BackendError, exceptions.ResponseError) as exc:  # the key holds no GroupMeta
                    why = str(exc)
                # Go: a group whose meta is gone, or names another number of members, never fires.
                if group is None or len(group.members) != chord.count:
                    why = why or _why_not(group, chord.count)
                    log.error("the chord of group %s cannot fire: %s", chord.group_uuid, why)
                    result.append((*entry[:5], 0, *entry[6:]))  # an earlier call may have given it an index
                    continue
                known = groups[chord.group_uuid] = (len(groups) + 1, group)
            result.append((*entry[:5], known[0], *entry[6:]))
        return result, [group for _, group in groups.values()]

    def call(
        self,
        client: redis.Redis,
        entries: Sequence[Packed],
        groups: Sequence[CachedGroup] = (),
        *,
        route: str = "gearmesh",
    ) -> str:
        """Call the script; return a code for each entry (see ``commit.lua``)."""
        return self._run(client, Batch(entries, groups, route))[0] or ""

    def _run(self, client: redis.Redis, batch: Batch) -> tuple[str | None, list[str]]:
        """Call the script; return a code for each entry (see ``commit.lua``), and a reason for each "e" among them.

        The codes are None if the token shows that the batch was done before. The script reads documents only in the
        form that Go and gearmesh write. If another program wrote one differently, this method rewrites it, as Go's
        decoder reads it, and repeats the entries.
        """
        codes, reasons, odd = self._once(client, batch)
        if not odd:
            return (codes if codes != _DUP else None), list(reasons.values())
        left = list(range(len(batch.entries)))  # the places of the entries of the last call
        result, whys = list(codes), reasons
        while odd:
            rewritten = [_in_one_form(client, key, kind) for key, kind in odd]
            left = [place for i, place in enumerate(left) if codes[i] in "so"]
            more = (*batch.more, *(None,) * (3 - len(batch.more)), not any(rewritten))
            entries = [batch.entries[place] for place in left]
            again = Batch(entries, batch.groups, batch.route, more=more, ended=batch.ended)
            codes, reasons, odd = self._once(client, again)
            for i, place in enumerate(left):
                result[place] = codes[i]
                if i in reasons:
                    whys[place] = reasons[i]
        return "".join(result), [whys[place] for place in sorted(whys)]

    def _once(self, client: Any, batch: Batch) -> tuple[str, dict[int, str], list[tuple[str, str]]]:
        """Call the script once; return its codes, the reason of each "e" by place, and documents in another form."""
        entries, groups, route, token, more, ended = batch
        windows = []
        for group in groups:
            first = group.known
            window = group.members[first : first + ended + len(entries) + 16]
            windows.append((chord_progress(group.uuid), len(group.members), first, window))
        payload = (*token, self.expire, entries, windows, self._delayed, self._announce, *more)
        answer = run(client, "commit", [route], [msgpack.packb(payload, use_bin_type=False)])
        if isinstance(answer, bytes):
            return answer.decode(), {}, []
        codes: str = answer[0].decode()
        if codes == _DUP:
            return codes, {}, []
        *known_members, problems, odd = answer[1:]
        for group, known in zip(groups, known_members, strict=True):
            group.known = max(group.known, known)
            self._finished(group.uuid, known)
        if not problems and not odd:
            return codes, {}, []
        bad = [i for i, code in enumerate(codes) if code == "e"]
        reasons = {i: why.decode("utf-8", "replace") for i, why in zip(bad, problems, strict=True)}
        return codes, reasons, [(key.decode(errors="surrogateescape"), kind.decode()) for key, kind in odd]


def _in_one_form(client: Any, key: str, kind: str) -> bool:
    """Rewrite a document in Go's form; return False if it is unreadable, or is in that form already."""
    body = client.get(key)
    if body is None:
        return True  # it has expired meanwhile
    try:
        one = encode_state(decode_state(body)) if kind == "state" else encode_group(decode_group(body))
    except (RemoteProtocolError, LocalProtocolError) as exc:
        log.error("%s: the stored value is no %s: %s", key, _DOCUMENTS[kind], exc)
        return False
    return one != body and bool(run(client, "rewrite", [key], [body, one]))


def _why_not(group: CachedGroup | None, count: int) -> str:
    if group is None:
        return "its GroupMeta is gone"
    return f"its GroupMeta has {len(group.members)} members, the signature says {count}"
