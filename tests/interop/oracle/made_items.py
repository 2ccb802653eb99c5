"""Items of DynamoDB that neither language writes: made by hand, with any type of attribute in any place.

``X`` holds a state's item, ``Y`` a group's. The oracle of ``items`` reads them with the AWS SDK. Python may read what
Go refuses; it must never fail in another way than with a ProtocolError, and where Go reads a value, Python reads the
same.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gearmesh.backends.dynamodb import items
from gearmesh.errors import ProtocolError
from gearmesh.wire.codec import encode_group
from gearmesh.wire.state import TaskResult, TaskState
from gearmesh.wire.typenames import TYPES, is_slice
from gearmesh.wire.types import load

from .documents import Documents
from .process import Answer, Case

__all__ = ["MadeItems", "difference_of"]

_TYPES: Final = sorted(TYPES)
_STATES: Final = ("PENDING", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE", "success", "")
_STATE_FIELDS: Final = ("TaskUUID", "TaskName", "State", "Results", "Error", "CreatedAt", "TTL")
_GROUP_FIELDS: Final = ("GroupUUID", "TaskUUIDs", "ChordTriggered", "Lock", "CreatedAt", "TTL")
#: Numbers as DynamoDB has them, and as its emulators print them.
_NUMBERS: Final = (
    *("0", "1", "-1", "3", "127", "128", "-129", "255", "256", "65536", "2147483648", "1763731872", "-5"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"),
    *("0.5", "-2.5", "0.1", "1E+2", "1e2", "100.0", "1.5E-7", "3.4028235E+38", "1E+125", "-1E-130", "1E+20"),
    "12345678901234567890123456789012345678",
)
_TIMES: Final = (
    *(
        "2026-11-21T13:31:12.947397078Z",
        "2026-11-21T14:31:12+01:00",
        "0001-01-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
    ),
    *(
        "2026-11-21 13:31:12 +0000 UTC",
        "2026-11-21",
        "",
        "2026-11-21T13:31:12",
        "2026-11-21T13:31:12.5-23:59",
    ),
    *("2026-11-21t13:31:12z", "2026-11-21T24:00:00Z", "2026-11-21T13:31:60Z", "2026-11-21T13:31:12,5Z"),
    *(
        "2026-11-21T3:31:12Z",
        "9999-12-31T23:59:59Z",
        "1763731872",
        "2026-11-21T13:31:12.Z",
        "-2026-11-21T13:31:12Z",
    ),
)
#: Texts that are values of some type as Go prints or encodes them.
_TEXTS: Final = (
    "3",
    "-7",
    "0.5",
    "true",
    "false",
    "[1 2 255]",
    "[]",
    "[true false]",
    "[a b]",
    "Af8=",
    "Af8",
    "NaN",
    "",
)


class MadeItems:
    """A stream of cases: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._parts = Documents(seed)

    def cases(self, count: int) -> list[Case]:
        """The next ``count`` cases."""
        return [self._state() if self._chance(0.75) else self._group() for _ in range(count)]

    def _state(self) -> Case:
        item = {
            "TaskUUID": self._mostly({"S": f"task_{self._text()}"}),
            "TaskName": self._mostly({"S": self._text()}),
            "State": self._mostly({"S": self._random.choice(_STATES)}),
            "Results": self._mostly({"L": [self._result() for _ in range(self._random.randrange(4))]}),
            "Error": self._mostly({"S": self._text()}),
            "CreatedAt": self._created(),
            "TTL": self._mostly({"N": str(self._random.randrange(2**33))}),
        }
        return Case(b"X", _json(self._changed(item)))

    def _group(self) -> Case:
        members = [self._mostly({"S": f"task_{n}"}) for n in range(self._random.randrange(4))]
        item = {
            "GroupUUID": self._mostly({"S": f"group_{self._text()}"}),
            "TaskUUIDs": self._mostly({"L": members}),
            "ChordTriggered": self._mostly({"BOOL": self._chance(0.5)}),
            "Lock": self._mostly({"BOOL": self._chance(0.5)}),
            "CreatedAt": self._created(),
            "TTL": self._mostly({"N": str(self._random.randrange(2**33))}),
        }
        return Case(b"Y", _json(self._changed(item)))

    def _changed(self, item: dict[str, Any]) -> dict[str, Any]:
        """Leave out an attribute, add one, or write a name in another case."""
        for name in list(item):
            if self._chance(0.03):
                del item[name]
            elif self._chance(0.02):
                item[self._random.choice((name.lower(), name.upper(), name[:1].lower() + name[1:]))] = (
                    item.pop(name)
                )
        if self._chance(0.1):
            item[f"x{self._text()}"] = self._any()
        return item

    def _mostly(self, value: dict[str, Any]) -> dict[str, Any]:
        return value if self._chance(0.985) else self._any()

    def _created(self) -> dict[str, Any]:
        if self._chance(0.2):
            return {"N": self._random.choice(_NUMBERS)}
        return self._mostly({"S": self._random.choice(_TIMES if self._chance(0.3) else _TIMES[:3])})

    def _result(self) -> dict[str, Any]:
        type = self._random.choice((*_TYPES, "json", ""))
        result = {
            "Type": self._mostly({"S": type}),
            "Value": self._any() if self._chance(0.6) else self._like(type),
        }
        return self._mostly({"M": self._changed(result)})

    def _like(self, type: str) -> dict[str, Any]:
        """A value that is often of the type."""
        if is_slice(type):
            element = type[2:]
            if element in ("uint8", "byte") and self._chance(0.5):
                return {"B": self._random.randbytes(self._random.randrange(1, 5))}
            return {"L": [self._like(element) for _ in range(self._random.randrange(4))]}
        if type == "bool":
            return {"BOOL": self._chance(0.5)}
        if type in ("string", "json", ""):
            return {"S": self._text()}
        return {"N": self._random.choice(_NUMBERS)}

    def _any(self, depth: int = 0) -> dict[str, Any]:
        kind = self._random.choice(
            ("S", "N", "BOOL", "NULL", "B", "SS", "NS", "BS", *(("L", "M") * (depth < 2)))
        )
        some = range(self._random.randrange(1, 4))
        made: dict[str, Callable[[], Any]] = {
            "S": lambda: self._random.choice(_TEXTS) if self._chance(0.6) else self._text(),
            "N": lambda: self._random.choice(_NUMBERS),
            "BOOL": lambda: self._chance(0.5),
            "NULL": lambda: True,
            "B": lambda: self._random.randbytes(self._random.randrange(5)),
            "SS": lambda: sorted({self._random.choice(_TEXTS) for _ in some}),
            "NS": lambda: sorted({self._random.choice(_NUMBERS) for _ in some}),
            "BS": lambda: [bytes([n]) for n in some],
            "L": lambda: [self._any(depth + 1) for _ in range(self._random.randrange(3))],
            "M": lambda: {f"k{n}": self._any(depth + 1) for n in range(self._random.randrange(3))},
        }
        return {kind: made[kind]()}

    def _text(self) -> str:
        return self._parts.text().encode("utf-8", "replace").decode()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def _json(item: Any) -> bytes:
    return json.dumps(item, default=lambda octets: base64.b64encode(octets).decode()).encode()


def _item(value: Any) -> Any:
    """An item as boto3 gives it: with bytes in B and BS."""
    if isinstance(value, list):
        return [_item(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, given), *more) = value.items() if value else [("", None)]
    if not more and kind == "B" and isinstance(given, str):
        return {"B": base64.b64decode(given)}
    if not more and kind == "BS":
        return {"BS": [base64.b64decode(each) for each in given]}
    return {name: _item(each) for name, each in value.items()}


# --- the answers to a case -----------------------------------------------------------------------


def difference_of(case: Case, go: Answer) -> Answer | None:
    """Return Python's answer if it is not Go's; None: they agree, or Go refuses the item and Python does not fail."""
    try:
        item = _item(json.loads(case.data))
        ours = _group(item) if case.verb == b"Y" else _state(items.state_of(item))
        theirs = (
            None
            if go.kind != b"="
            else (msgspec.json.decode(go.text) if case.verb == b"Y" else _gos(go.text))
        )
    except ProtocolError as exc:
        return Answer(b"-", str(exc).encode()) if go.kind == b"=" else None
    except Exception as exc:
        return Answer(b"!", repr(exc).encode())
    if theirs is None or _same(theirs, ours):
        return None
    return Answer(b"=", json.dumps(ours, default=repr).encode())


def _group(item: Any) -> Any:
    found = msgspec.json.decode(encode_group(items.group_of(item)))
    return {name: found[name] for name in _GROUP_FIELDS if name != "TTL"}


def _state(state: TaskState) -> dict[str, Any]:
    return {
        **{name: getattr(state, name) for name in _STATE_FIELDS if name not in ("Results", "TTL")},
        "Results": [(each.Type, *_value(each)) for each in state.Results or ()],
    }


def _value(result: TaskResult) -> tuple[Any, Any]:
    """The value that a caller gets, None for an error; and the JSON of the result."""
    try:
        value = load(result.Type, result.Value)
    except ProtocolError:
        value = None
    return (list(value) if isinstance(value, bytes) else value), _floats(msgspec.json.decode(result.Value))


def _floats(value: Any) -> Any:
    """JSON with floats for all numbers: Go reads no other ones from DynamoDB."""
    if isinstance(value, list):
        return [_floats(each) for each in value]
    if isinstance(value, dict):
        return {name: _floats(each) for name, each in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _gos(text: bytes) -> dict[str, Any]:
    """Go's state in the form of ours; a null among the results is an empty one."""
    found = msgspec.json.decode(text)
    state = found["State"]
    read = []
    for result, value in zip(state["Results"] or (), found["Values"] or (), strict=True):
        type = result["Type"] if result else ""
        raw = msgspec.Raw(msgspec.json.encode(value))
        value = None if value is None else _value(TaskResult(type, raw))[0]
        read.append((type, value, _floats(result["Value"]) if result else None))
    return {
        **{name: state[name] for name in _STATE_FIELDS if name not in ("Results", "TTL")},
        "Results": read,
    }


def _is_readable(type: str, value: Any) -> bool:
    try:
        load(type, msgspec.Raw(msgspec.json.encode(value)))
    except ProtocolError:
        return False
    return True


def _same(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    if "Results" not in ours:
        return all(theirs[name] == ours[name] or not (theirs[name] or ours[name]) for name in ours)
    if any(theirs[name] != ours[name] for name in ours if name != "Results"):
        return False
    if len(theirs["Results"]) != len(ours["Results"]):
        return False
    for (their_type, their_value, their_json), (type, value, raw) in zip(
        theirs["Results"], ours["Results"], strict=True
    ):
        if their_type != type or (their_value is not None and their_value != value):
            return False
        if value is None and raw != their_json and not _is_readable(type, their_json):
            return False  # neither gets a value, so Python must return the JSON that Go would write
    return True
