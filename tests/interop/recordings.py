"""Recordings of real Machinery on Redis, in a form that tests can compare.

A recording is cut where its worker first acts: before that the client writes, after it the worker.
Tests compare **writes** only: states, group metas, messages pushed and messages delayed. Ids that
only one side made up get names in the order of their appearance, times become ``*``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

GOLDEN = Path(__file__).parents[1] / "golden" / "redis"

_ID = re.compile(r"\b(task|group|chord)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CREATED = re.compile(r'"CreatedAt":"([^"]*)"')
_ETA = re.compile(r'"ETA":"[^"]*"')

Kind = Literal["state", "group", "push", "delay"]


@dataclass(frozen=True)
class Write:
    """One write that the other side of the wire can see.

    ``about``: the task's or the group's id. ``where``: the queue of a message, or the delayed key.
    ``expire``: seconds, of a stored value. ``score``: unix ns, of a delayed message.
    """

    kind: Kind
    about: str
    text: str
    where: str = ""
    expire: int = 0
    score: int = 0

    @property
    def doc(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.text)
        return loaded

    @property
    def state(self) -> str:
        return str(self.doc["State"]) if self.kind == "state" else ""

    @property
    def required(self) -> bool:
        """False for a state that a later one of the same flush may replace."""
        return self.kind != "state" or self.state in ("SUCCESS", "FAILURE")


def write_of(words: Sequence[str]) -> Write | None:
    """The Write that a Redis command is; None for any other command."""
    name, *rest = words
    if name == "SET" and rest[0].startswith(("task_", "chord_")):
        return Write("state", rest[0], rest[1], expire=_expire(rest[2:]))
    if name == "SET" and rest[0].startswith("group_"):
        return Write("group", rest[0], rest[1], expire=_expire(rest[2:]))
    if name == "RPUSH" and not rest[0].startswith("gearmesh:"):
        return Write("push", json.loads(rest[1])["UUID"], rest[1], where=rest[0])
    if name == "ZADD" and not rest[0].startswith("gearmesh:"):
        return Write("delay", json.loads(rest[2])["UUID"], rest[2], where=rest[0], score=int(rest[1]))
    return None


def _expire(options: Sequence[str]) -> int:
    assert len(options) == 2, options
    assert options[0].upper() == "EX", options
    return int(options[1])


@dataclass
class Names:
    """Gives ids names, the same ones on both sides if they are met in the same order.

    ``kept``: ids that both sides know; they are their own names.
    """

    kept: frozenset[str] = frozenset()
    given: dict[str, str] = field(default_factory=dict)

    def of(self, text: str) -> str:
        """``text`` with every id replaced, and times by ``*``."""
        text = _CREATED.sub('"CreatedAt":"*"', _ID.sub(self._one, text))
        return _ETA.sub('"ETA":"*"', text)

    def _one(self, match: re.Match[str]) -> str:
        found = match[0]
        if found in self.kept:
            return found
        return self.given.setdefault(found, f"{match[1]}#{len(self.given) + 1}")

    def write(self, write: Write) -> Write:
        return replace(write, about=self.of(write.about), text=self.of(write.text), score=0)


def ids(writes: Iterable[Write]) -> frozenset[str]:
    """All ids that occur in these writes."""
    return frozenset(match[0] for write in writes for match in _ID.finditer(write.about + " " + write.text))


def by_subject(writes: Iterable[Write]) -> dict[str, list[Write]]:
    """The writes about each task and group, in order."""
    found: dict[str, list[Write]] = {}
    for write in writes:
        found.setdefault(write.about, []).append(write)
    return found


def missing(ours: Sequence[Write], theirs: Sequence[Write]) -> str:
    """Return the first difference; empty if ``ours`` lacks nothing but states that were merged away."""
    left = list(ours)
    for write in theirs:
        if left and left[0] == write:
            left.pop(0)
        elif write.required:
            return f"expected {write}, but {left[0] if left else 'nothing'} was written"
    return f"written besides: {left[0]}" if left else ""


@dataclass(frozen=True)
class Recording:
    """One scenario.

    Attributes:
        commands: the requests to the peer.
        client, worker: the writes of each, in order.
        keys_after: the keys that were left in Redis.
    """

    name: str
    commands: tuple[dict[str, Any], ...]
    answers: tuple[dict[str, Any], ...]
    client: tuple[Write, ...]
    worker: tuple[Write, ...]
    keys_after: Mapping[str, Any]

    @property
    def queue(self) -> str:
        return next(write.where for write in self.client if write.kind == "push")


def load(path: Path) -> Recording:
    """Read one recording that has commands."""
    data = json.loads(path.read_text())
    writes = [write for line in data["redis_commands"] if (write := write_of(_words(line))) is not None]
    start = next((i for i, write in enumerate(writes) if write.state == "RECEIVED"), len(writes))
    return Recording(
        name=data["scenario"],
        commands=tuple(data["commands"]),
        answers=tuple(data["answers"]),
        client=tuple(writes[:start]),
        worker=tuple(writes[start:]),
        keys_after=data["keys_after"],
    )


def all_recordings() -> Iterator[Recording]:
    """Return the recordings with commands, by name."""
    for path in sorted(GOLDEN.glob("*.json")):
        if "redis_commands" in json.loads(path.read_text()):
            yield load(path)


def _words(line: str) -> list[str]:
    """A recorded line as words: MONITOR doubled its backslashes, and a JSON document may hold spaces."""
    line = line.replace("\\\\", "\\")
    name, rest = line.split(" ", 1)
    if name == "SET" and rest.startswith(("task_", "chord_", "group_")):
        key, rest = rest.split(" ", 1)
        text, flag, seconds = rest.rsplit(" ", 2)
        return [name, key, text, flag, seconds]
    if name == "RPUSH":
        return [name, *rest.split(" ", 1)]
    if name == "ZADD":
        return [name, *rest.split(" ", 2)]
    return [name, *rest.split(" ")]


def created_at(write: Write) -> str:
    """Return the moment at which the state of ``write`` says that its task was first PENDING."""
    match = _CREATED.search(write.text)
    assert match is not None
    return match[1]


def unix_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time in UTC, with up to nine fraction digits."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 10**9 + int((fraction + "0" * 9)[:9])
