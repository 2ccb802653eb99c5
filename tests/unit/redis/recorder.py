"""A stand-in for a Redis client that records the calls of a script and returns prepared answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgpack

from gearmesh.redis_client.runner import source


class Entry(NamedTuple):
    """One entry of a call of ``commit.lua``, as the script receives it."""

    held: bytes
    id: bytes
    how: int
    states: list[Any]
    publishes: list[Any]
    group: int = 0
    trigger: Any = None
    settling: Any = None
    elsewhere: Any = None


class Call(NamedTuple):
    """One call of ``commit.lua``; ``size`` is its payload's in bytes."""

    route: str
    token: bytes
    place: bytes
    expire: int
    entries: list[Entry]
    groups: list[Any]
    delayed: bytes
    announce: bytes
    more: tuple[Any, ...]
    size: int


class Answer(NamedTuple):
    """A prepared answer: a code for each entry, then the script's lists of groups, problems and odd documents."""

    codes: str
    known: Sequence[int] = ()
    problems: Sequence[str] = ()
    odd: Sequence[tuple[str, str]] = ()


class Recorder:
    """Records each call of ``commit.lua``; answers "1" for each entry where no answer is prepared.

    A call of ``publish.lua`` or ``settle.lua`` is recorded as the one of ``commit.lua`` that does the same.

    ``other`` are the calls of other scripts and commands, ``documents`` the values of keys, ``boxes`` hashes by key,
    ``looked`` the keys of those that were read.
    """

    def __init__(self, *answers: Answer | str | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.other: list[tuple[Any, ...]] = []
        self.documents: dict[str, bytes] = {}
        self.looked: list[str] = []
        self.boxes: dict[str, dict[bytes, bytes]] = {}
        self._names = {
            source(name)[1]: name for name in ("commit", "publish", "rewrite", "settle", "take_due")
        }

    @property
    def entries(self) -> list[Entry]:
        """The entries of all calls."""
        return [entry for call in self.calls for entry in call.entries]

    def execute_command(self, command: str, sha: str, count: int, *rest: Any) -> Any:
        assert command == "EVALSHA"
        name, keys, args = self._names[sha], rest[:count], rest[count:]
        if name == "commit":
            return self._commit(keys[0], args[0])
        if name == "publish":
            return self._publish(keys, args)
        if name == "settle":
            return self._settle(keys[0], args)
        self.other.append((name, *keys, *args))
        if name == "take_due":
            return list(range(1, 1 + len(msgpack.unpackb(args[0], raw=True))))
        self.documents[keys[0]] = args[1]
        return 1

    def _commit(self, route: str, payload: bytes) -> list[Any]:
        token, place, expire, entries, groups, delayed, announce, *more = msgpack.unpackb(payload, raw=True)
        call = Call(
            route, token, place, expire, [Entry(*entry) for entry in entries], groups, delayed, announce,
            tuple(more), len(payload),
        )  # fmt: skip
        answer = self._answer(call)
        if answer.codes == "dup":
            return [b"dup"]
        known = answer.known or [group[2] for group in groups]
        odd = [[key.encode(), kind.encode()] for key, kind in answer.odd]
        return [answer.codes.encode(), *known, [why.encode() for why in answer.problems], odd]

    def _publish(self, keys: Sequence[str], args: Sequence[bytes]) -> bytes:
        place, expire, _, count, *rest = args
        states = [rest[i : i + 2] for i in range(0, 2 * int(count), 2)]
        known = b""
        for state in states:
            known = state[1] or known
            state[1] = known if known.startswith(b"{") else b'{"TaskUUID":"' + state[0] + known
        bodies_ = rest[2 * int(count) :]
        entries = [
            Entry(b"", b"", 0, [state] if count else [], [[keys[0].encode(), body, b""]])
            for state, body in itertools.zip_longest(states, bodies_)
        ]
        token = keys[1].encode() if place else b""
        size = sum(map(len, args))
        call = Call(keys[0], token, place, int(expire), entries, [], b"delayed_tasks", b"", (), size)
        return self._answer(call).codes.encode()

    def _settle(self, held: str, args: Sequence[bytes]) -> bytes:
        expire, announce, *rest = args
        entries = []
        for id_, key, results in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            states = [[key, b"", b"SUCCESS", results]] if key else []
            entries.append(Entry(held.encode(), id_, 1, states, []))
        size = sum(map(len, args))
        call = Call(held, b"", b"", int(expire or 0), entries, [], b"", announce, (), size)
        return self._answer(call).codes.encode()

    def _answer(self, call: Call) -> Answer:
        self.calls.append(call)
        answer = self.answers.pop(0) if self.answers else "1" * len(call.entries)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer) if isinstance(answer, str) else answer

    def get(self, key: str) -> bytes | None:
        return self.documents.get(key)

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        self.looked.append(key)
        return dict(self.boxes.get(key, {}))

    def hdel(self, key: str, field: str) -> None:
        self.other.append(("HDEL", key, field))
        self.boxes.get(key, {}).pop(field.encode(), None)


def bodies(entries: Iterable[Entry]) -> list[bytes]:
    """The messages that these entries send."""
    return [publish[1] for entry in entries for publish in entry.publishes]
