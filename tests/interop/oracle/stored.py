"""States and groups as MongoDB and DynamoDB keep them: written by one language, and read by the other.

A case whose verb is a reader's (``B``, ``b``, ``D``, ``d``) holds a document or item that Python has written, or for
``B`` also one that neither language writes; Go reads it. The others (``W``, ``w``, ``I``, ``i``) hold a state or a
group as JSON; Go stores it, and Python reads it back.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any, Final

import bson
import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from gearmesh.backends.dynamodb import items
from gearmesh.backends.mongodb import documents as mongodb
from gearmesh.errors import ProtocolError, Unstorable
from gearmesh.wire.codec import decode_group, decode_state, encode_group, encode_state
from gearmesh.wire.gotime import format_ns, parse
from gearmesh.wire.state import ZERO_TIME, GroupMeta, TaskResult, TaskState
from gearmesh.wire.typenames import BYTES, TYPES, element, is_slice
from gearmesh.wire.types import dump

from .documents import Documents
from .process import Answer, Case

__all__ = ["StoredDocuments", "expected", "understood"]

_TYPES: Final = sorted(TYPES)
_STATES: Final = ("PENDING", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "SUCCESS", "SUCCESS", "FAILURE")
#: Texts that Go parses before it stores them in MongoDB, and the texts that it makes of the parsed values.
_PARSED: Final = {
    "null": "null",
    "{}": "{}",
    ' {"b": 1.50, "a": [true, null]} x': '{"a":[true,null],"b":1.5}',
    '{"x":"<"}': '{"x":"\\u003c"}',
    '{"n":{"z":1e3,"é":-0.5}}': '{"n":{"z":1000,"é":-0.5}}',
}
#: MongoDB's backend reads BSON with these options.
_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
_UNTIL_S: Final = 1_900_000_000
#: Nanoseconds around the years 1906 to 2033, which both stores hold.
_MIN_NS: Final = -(2**61)
_MAX_NS: Final = 2**61


class StoredDocuments:
    """A stream of cases: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._parts = Documents(seed)
        self._makers: tuple[tuple[float, Callable[[], Case]], ...] = (
            (0.2, lambda: self._document_by_python()),
            (0.15, lambda: Case(b"B", bson.encode(self._odd_document()))),
            (0.2, lambda: Case(b"W", encode_state(self._state(parsed=True)))),
            (0.05, lambda: Case(b"b", bson.encode(mongodb.group_document(self._group(), DatetimeMS(1))))),
            (0.05, lambda: Case(b"w", encode_group(self._group()))),
            (0.15, lambda: self._item_by_python()),
            (0.12, lambda: Case(b"I", encode_state(self._state()))),
            (0.04, lambda: Case(b"d", _item_json(items.group_item(self._group(), _UNTIL_S)))),
            (0.04, lambda: Case(b"i", encode_group(self._group()))),
        )

    def cases(self, count: int) -> list[Case]:
        """The next ``count`` cases."""
        weights, makers = zip(*self._makers, strict=True)
        return [make() for make in self._random.choices(makers, weights, k=count)]

    def _document_by_python(self) -> Case:
        state = self._state()
        try:
            (change,) = mongodb.changes_of([state], DatetimeMS(1))
        except Unstorable:  # an integer above those of BSON: Go's driver refuses it, too
            return Case(b"W", encode_state(state))
        return Case(b"B", bson.encode({"_id": state.TaskUUID, **change.update["$set"]}))

    def _item_by_python(self) -> Case:
        state = self._state()
        (change,), refused = items.changes_of([state], _UNTIL_S)
        assert refused is None
        return Case(b"D", _item_json(change.item or {"TaskUUID": {"S": state.TaskUUID}, **change.fields}))

    def _state(self, *, parsed: bool = False) -> TaskState:
        state = self._random.choice(_STATES)
        results: tuple[TaskResult, ...] | None = None
        if state == "SUCCESS" and self._random.random() < 0.95:
            results = tuple(self._result(parsed) for _ in range(self._random.randrange(4)))
        return TaskState(
            TaskUUID=f"task_{self._parts.text()}",
            TaskName=self._parts.text(),
            State=state,
            Results=results,
            Error=self._parts.text() if state == "FAILURE" else "",
            CreatedAt=self._time(),
        )

    def _result(self, parsed: bool) -> TaskResult:
        type = self._random.choice(_TYPES)
        if is_slice(type) and self._random.random() < 0.05:
            return TaskResult(type, msgspec.Raw(b"null"))
        value = self._parts.value(type)
        if parsed and type == "string" and self._random.random() < 0.2:
            value = self._random.choice(list(_PARSED))
        return TaskResult(type, dump(type, value))

    def _time(self) -> str:
        return (
            ZERO_TIME if self._random.random() < 0.1 else format_ns(self._random.randrange(_MIN_NS, _MAX_NS))
        )

    def _group(self) -> GroupMeta:
        uuids = tuple(f"task_{self._parts.text()}" for _ in range(self._random.randrange(4)))
        flags = self._random.getrandbits(2)
        return GroupMeta(
            GroupUUID=f"group_{self._parts.text()}",
            TaskUUIDs=uuids,
            ChordTriggered=flags > 1,
            Lock=flags % 2 == 1,
            CreatedAt=self._time(),
        )

    # --- odd documents that neither Go nor Python writes -----------------------------------------

    def _odd_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"_id": f"task_{self._parts.text()}", "state": "SUCCESS", "x": self._odd()}
        count = self._random.randrange(4)
        document["results"] = [
            {"type": type, "value": self._odd_value(type)} for type in self._random.choices(_TYPES, k=count)
        ]
        if self._random.random() < 0.5:
            document["created_at"] = DatetimeMS(self._random.randrange(_MIN_NS, _MAX_NS) // 10**6)
        return document

    def _odd_value(self, type: str) -> Any:
        if self._random.random() < 0.2:
            return self._odd()
        if not is_slice(type):
            return self._odd_scalar(type)
        if element(type).startswith("uint") and self._random.random() < 0.5:
            octets = self._random.randbytes(self._random.randrange(5))
            text = base64.b64encode(octets).decode() + self._random.choice(("", "", "=", "\n", "-"))
            return octets if type in BYTES and self._random.random() < 0.5 else text
        return [self._odd_scalar(element(type)) for _ in range(self._random.randrange(4))]

    def _odd_scalar(self, type: str) -> Any:
        """A value that is often of the type."""
        if type == "string":
            return self._parts.text()
        if type == "bool":
            return self._random.random() < 0.5
        small = self._random.choice((-129, -1, 0, 1, 127, 255, 256, 2**31 - 1))
        return self._random.choice(
            (small, bson.Int64(small), float(small), bson.Int64(self._random.getrandbits(63)), 0.5)
        )

    def _odd(self, depth: int = 0) -> Any:
        way = self._random.randrange(10 if depth < 2 else 8)
        if way == 8:
            return [self._odd(depth + 1) for _ in range(self._random.randrange(3))]
        if way == 9:
            keys = {self._parts.text().replace("\0", "") for _ in range(self._random.randrange(3))}
            return {key: self._odd(depth + 1) for key in keys}
        return (
            None,
            True,
            self._parts.text(),
            -5,
            bson.Int64(2**62),
            self._random.choice((1.5, 1e300, -0.0, 1e-7, float("nan"), float("-inf"))),
            DatetimeMS(self._random.randrange(_MIN_NS, _MAX_NS) // 10**6),
            bson.ObjectId(self._random.randbytes(12)),
        )[way]


def _item_json(item: Any) -> bytes:
    return json.dumps(item, default=lambda octets: base64.b64encode(octets).decode()).encode()


# --- the answers to a case -----------------------------------------------------------------------


def expected(case: Case) -> Answer:
    """Return the answer that both should give: Python's reading of the document or item, or the state itself."""
    try:
        return Answer(b"=", _EXPECTED[case.verb](case.data))
    except (ProtocolError, Unstorable) as exc:
        return Answer(b"-", str(exc).encode("utf-8", "replace"))


def understood(case: Case, go: Answer) -> Answer:
    """Return Go's answers, with its documents as Python reads them. ``!``: Python could not read it."""
    read = _READ.get(case.verb)
    if read is None or go.kind != b"=":
        return go
    try:
        return Answer(b"=", read(go.text))
    except Exception as exc:
        return Answer(b"!", f"{exc!r} at {go.text!r}".encode())


def _from_document(data: bytes) -> bytes:
    return encode_state(mongodb.state_of(bson.decode(data, _CODEC)))


def _from_group_document(data: bytes) -> bytes:
    return encode_group(mongodb.group_of(bson.decode(data, _CODEC)))


def _item(data: bytes) -> dict[str, Any]:
    def with_bytes(found: dict[str, Any]) -> dict[str, Any]:
        return {"B": base64.b64decode(found["B"])} if found.keys() == {"B"} else found

    made: dict[str, Any] = json.loads(data, object_hook=with_bytes)
    return made


def _from_item(data: bytes) -> bytes:
    state = items.state_of(_item(data))
    # DynamoDB has the same for no results and for an empty list of them.
    return encode_state(msgspec.structs.replace(state, Results=state.Results or None))


def _from_group_item(data: bytes) -> bytes:
    return encode_group(items.group_of(_item(data)))


def _for_document(data: bytes) -> bytes:
    state = decode_state(data)
    mongodb.changes_of([state], DatetimeMS(1))  # raises for values that BSON cannot hold
    results = None if state.Results is None else tuple(map(_parsed, state.Results))
    return encode_state(
        msgspec.structs.replace(state, Results=results, CreatedAt=_milliseconds(state.CreatedAt))
    )


def _parsed(result: TaskResult) -> TaskResult:
    if result.Type == "string" and (text := msgspec.json.decode(result.Value)) in _PARSED:
        return TaskResult("string", dump("string", _PARSED[text]))
    return result


def _milliseconds(time: str) -> str:
    return format_ns(parse(time) // 10**6 * 10**6)


def _for_group_document(data: bytes) -> bytes:
    group = decode_group(data)
    return encode_group(msgspec.structs.replace(group, CreatedAt=_milliseconds(group.CreatedAt)))


def _for_item(data: bytes) -> bytes:
    state = decode_state(data)
    results = tuple(map(_printed, state.Results or ()))
    return encode_state(msgspec.structs.replace(state, Results=results or None))


def _printed(result: TaskResult) -> TaskResult:
    """Return a result as ``%v`` leaves it: without nil slices, and with texts in pieces."""
    if not is_slice(result.Type):
        return result
    if bytes(result.Value) == b"null":
        return TaskResult(result.Type, dump(result.Type, b"" if result.Type in BYTES else []))
    if result.Type == "[]string":
        joined = " ".join(msgspec.json.decode(result.Value))
        return TaskResult(result.Type, dump("[]string", joined.split(" ") if joined else []))
    return result


_EXPECTED: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"B": _from_document,
    b"W": _for_document,
    b"b": _from_group_document,
    b"w": _for_group_document,
    b"D": _from_item,
    b"I": _for_item,
    b"d": _from_group_item,
    b"i": lambda data: encode_group(decode_group(data)),
}
_READ: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"W": _from_document,
    b"w": _from_group_document,
    b"I": _from_item,
    b"i": _from_group_item,
}
