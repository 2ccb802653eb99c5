"""Makes inputs from a seed: documents as Go and Python write them, odd ones that neither writes, and damaged ones."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gearmesh.wire.codec import encode, encode_group, encode_state
from gearmesh.wire.gotime import format_ns
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import GroupMeta, TaskResult, TaskState
from gearmesh.wire.typenames import TYPES
from gearmesh.wire.types import dump

from .process import Case

__all__ = ["Documents"]

_TYPES: Final = sorted(TYPES)
_PIECES: Final = (
    "a", "Z", "0", " ", "/", "\\", '"', "'", "<", ">", "&", "\b", "\f", "\n", "\r", "\t", "\0", "\x1f", "\x7f", "\x80",
    "é", "ſ", "\u212a", "\u2028", "\u2029", "\ufeff", "\ufffd", "\uffff", "☃", "😀", "\U0010ffff", "task_", "e1", "-0",
)  # fmt: skip
#: Texts of JSON strings that Python's encoder does not write.
_LITERALS: Final = (
    rb'"\u0041"', rb'"\/"', rb'"\ud83d\ude00"', rb'"\ud800"', rb'"\udc00x"', rb'"\ud83d\u0041"',
    rb'"\u2028"', rb'"\u0026"',
    b'"\xff"', b'"caf\xe9"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xc0\x80"', b'"\xe2\x28\xa1"', rb'"\u003C"',
    rb'"\b\f\n\r\t\u0008"', b'"\x7f"', b'"\xe2\x80\xa8"',
)  # fmt: skip
_NUMBERS: Final = (
    b"0", b"-0", b"1", b"-1", b"127", b"128", b"-129", b"255", b"256", b"65535", b"65536", b"2147483648", b"4294967296",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551615", b"18446744073709551616", b"0.0", b"1.0", b"1e2", b"1E+2", b"-1e-2",
    b"2.50", b"1e400", b"1E-400",
    b"0.1", b"3.4e38", b"3.5e38", b"1e-7", b"123456789012345678901234567890", b"0.30000000000000004",
    b"1.5", b"-2.5e-3",
)  # fmt: skip
_BAD: Final = (b"01", b"+1", b".5", b"1.", b"NaN", b"tru", b"nul", b"'x'", b'"', b'"\n"', b'"\\x"',
b"[1,]", b"{,}", b"{1:2}", b"")  # fmt: skip
_TIMES: Final = (
    "2026-11-29T10:00:00Z", "0001-01-01T00:00:00Z", "2026-11-29T10:00:00.123456789Z", "2026-11-29T10:00:00.120Z",
    "2026-11-29T10:00:00,5Z", "2026-11-29T1:00:00Z", "2026-11-29T10:00:00+05:30", "2026-11-29T10:00:00-00:30",
    "2026-11-29T10:00:00+24:00", "2026-11-29T10:00:00+23:60", "2026-02-30T10:00:00Z",
    "2024-02-29T23:59:59.999999999+14:00",
    "2026-11-29T24:00:00Z", "2026-11-29T10:00:60Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z",
    "2026-11-29 10:00:00Z",
    "2026-11-29T10:00:00", "2026-11-29T10:00:00z", "10000-01-01T00:00:00Z", "", "2026-11-29T10:00:00.0000000001Z",
    "2026-11-29T10:00:00.Z", "2026-11-29T10:00Z", "-001-01-01T00:00:00Z", "2026-11-29T10:00:00+0530",
)  # fmt: skip
_SIGNATURE: Final = {
    "UUID": "text", "Name": "text", "RoutingKey": "text", "ETA": "time", "GroupUUID": "text", "GroupTaskCount": "int",
    "Args": "args", "Headers": "map", "Priority": "int", "Immutable": "bool", "RetryCount": "int",
    "RetryTimeout": "int",
    "OnSuccess": "signatures", "OnError": "signatures", "ChordCallback": "signature", "BrokerMessageGroupId": "text",
    "SQSReceiptHandle": "text", "StopTaskDeletionOnError": "bool", "IgnoreWhenTaskNotRegistered": "bool",
}  # fmt: skip
_STATE: Final = {
    "TaskUUID": "text", "TaskName": "text", "State": "text", "Results": "results", "Error": "text", "CreatedAt": "time",
    "TTL": "int",
}  # fmt: skip
_GROUP: Final = {
    "GroupUUID": "text", "TaskUUIDs": "texts", "ChordTriggered": "bool", "Lock": "bool",
    "CreatedAt": "time", "TTL": "int",
}  # fmt: skip
#: The share of values that their fields cannot have.
WRONG_SHARE: Final = 0.006
MAX_DEPTH: Final = 2


class Documents:
    """A stream of cases: the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers: list[tuple[float, Callable[[], Case]]] = [
            (0.22, lambda: Case(b"S", self._object(_SIGNATURE))),
            (0.07, lambda: Case(b"T", self._object(_STATE))),
            (0.05, lambda: Case(b"G", self._object(_GROUP))),
            (0.10, lambda: Case(b"S", self._written_signature())),
            (0.04, lambda: Case(b"T", self._written_state())),
            (0.03, lambda: Case(b"G", self._written_group())),
            (0.15, self._damaged),
            (0.20, self._argument),
            (0.06, lambda: Case(b"s", self._octets())),
            (0.05, lambda: Case(b"d", self._bits(8))),
            (0.03, lambda: Case(b"f", self._bits(4))),
        ]

    def cases(self, count: int) -> list[Case]:
        """The next ``count`` cases."""
        weights, makers = zip(*self._makers, strict=True)
        return [make() for make in self._random.choices(makers, weights, k=count)]

    # --- parts ----------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        """True in this share of calls."""
        return self._random.random() < share

    def text(self) -> str:
        """A text, every second one with characters that are written in their own way."""
        if self.chance(0.5):
            return "".join(self._random.choices(_PIECES, k=self._random.randrange(1, 6)))
        return self._random.choice(("", "add", "machinery_tasks", "task_1"))

    def _octets(self) -> bytes:
        text = "".join(self._random.choices(_PIECES, k=self._random.randrange(12))).encode()
        if self.chance(0.4):
            at = self._random.randrange(len(text) + 1)
            text = text[:at] + self._random.randbytes(self._random.randrange(1, 4)) + text[at:]
        return text

    def _bits(self, size: int) -> bytes:
        if self.chance(0.5):
            return self._random.randbytes(size)
        number = self._random.choice(
            (1.0, 1e21, 1e-6, 9.999999e-7, 1e20, 123456789.0, 0.1)
        ) * self._random.choice((1, 3, 7, 1e-3, 1.1))
        packed = struct.pack("<d" if size == 8 else "<f", number * 10 ** self._random.randrange(-12, 12))
        return packed

    def _string(self) -> bytes:
        if self.chance(0.2):
            return self._random.choice(_LITERALS)
        return json.dumps(self.text(), ensure_ascii=self.chance(0.3)).encode()

    def _any(self, depth: int = 0) -> bytes:
        kind = self._random.randrange(10)
        if kind < 3:
            return self._random.choice(_NUMBERS)
        if kind < 6:
            return self._string()
        if kind < 8 or depth >= MAX_DEPTH:
            return self._random.choice((b"true", b"false", b"null"))
        count = self._random.randrange(4)
        if kind == 8:
            return b"[" + self._comma().join(self._any(depth + 1) for _ in range(count)) + b"]"
        pairs = (self._string() + self._colon() + self._any(depth + 1) for _ in range(count))
        return b"{" + self._comma().join(pairs) + b"}"

    def _comma(self) -> bytes:
        return b"," if self.chance(0.9) else self._random.choice((b" , ", b",\n", b"\t,"))

    def _colon(self) -> bytes:
        return b":" if self.chance(0.9) else self._random.choice((b" : ", b":\r\n", b"\t:"))

    # --- odd documents that neither Go nor Python writes -----------------------------------------

    def _object(self, fields: dict[str, str], depth: int = 0) -> bytes:
        names = list(fields)
        if self.chance(0.7):
            names = self._random.sample(names, self._random.randrange(1, len(names) + 1))
        if self.chance(0.15):
            names.append(self._random.choice(names))
        pairs = [self._name(name) + self._colon() + self._value(fields[name], depth) for name in names]
        if self.chance(0.1):
            pairs.insert(self._random.randrange(len(pairs) + 1), self._string() + b":" + self._any())
        text = b"{" + self._comma().join(pairs) + b"}"
        if not depth and self.chance(0.05):
            text = self._random.choice((b" ", b"\n", b"\xef\xbb\xbf", b"\x0b")) + text
        if not depth and self.chance(0.05):
            text += self._random.choice((b" ", b"x", b"{}", b"]", b"\0"))
        return text

    def _name(self, name: str) -> bytes:
        if self.chance(0.92):
            return b'"' + name.encode() + b'"'
        way = self._random.randrange(5)
        changed = (
            name.lower(),
            name.upper(),
            name.swapcase(),
            name.replace("s", "ſ"),
            name.replace("K", "\u212a"),
        )[way]
        return json.dumps(changed, ensure_ascii=self.chance(0.3)).encode()

    def _value(self, kind: str, depth: int) -> bytes:
        if self.chance(WRONG_SHARE):
            return self._any() if self.chance(0.8) else self._random.choice(_BAD)
        if self.chance(0.05):
            return b"null"
        if kind == "text":
            return self._string()
        if kind == "int":
            return str(self._random.choice((0, 1, 5, 200, 255))).encode()
        if kind == "bool":
            return self._random.choice((b"true", b"false"))
        if kind == "time":
            return json.dumps(self._time()).encode()
        if kind == "map":
            count = self._random.randrange(4)
            return b"{" + b",".join(self._string() + b":" + self._any() for _ in range(count)) + b"}"
        if kind == "texts":
            return b"[" + b",".join(self._string() for _ in range(self._random.randrange(4))) + b"]"
        if kind in ("args", "results"):
            fields = {"Name": "text", "Type": "type", "Value": "any"}
            if kind == "results":
                del fields["Name"]
            items = (self._object(fields, 9) for _ in range(self._random.randrange(4)))
            return b"[" + self._comma().join(items) + b"]"
        if kind == "type":
            return json.dumps(self._random.choice(_TYPES)).encode()
        if kind == "any":
            return self._any()
        if depth >= MAX_DEPTH or self.chance(0.6):
            return b"null" if kind == "signature" else self._random.choice((b"[]", b"null", b"[null]"))
        below = self._object(_SIGNATURE, depth + 1)
        return below if kind == "signature" else b"[" + below + b"]"

    def _time(self) -> str:
        if self.chance(0.02):
            return self._random.choice(_TIMES)
        if self.chance(0.5):
            return self._random.choice(_TIMES[:3])
        return format_ns(self._random.randrange(-(2**62), 2**62), self._random.choice((0, 3600, -19800)))

    def _damaged(self) -> Case:
        verb, data = self._random.choice(
            (
                lambda: Case(b"S", self._written_signature()),
                lambda: Case(b"T", self._written_state()),
                lambda: Case(b"G", self._written_group()),
                lambda: Case(b"S", self._object(_SIGNATURE)),
            )
        )()
        at = self._random.randrange(len(data) + 1)
        end = min(len(data), at + self._random.randrange(1, 20))
        way = self._random.randrange(6)
        if way == 0:
            return Case(verb, data[:at])
        if way == 1:
            return Case(verb, data[:at] + data[end:])
        if way == 2:
            return Case(verb, data[:end] + data[at:])
        if way == 3:
            return Case(verb, data[:at] + self._random.randbytes(1) + data[at + 1 :])
        if way == 4:
            return Case(
                verb,
                data[:at]
                + self._random.choice((b"{", b"}", b"[", b"]", b'"', b",", b"\\", b"e", b" "))
                + data[at:],
            )
        return Case(verb, data.replace(b"0", self._random.choice(_NUMBERS + _BAD), 1))

    # --- documents as Python writes them ---------------------------------------------------------

    def _written_signature(self) -> bytes:
        return encode(self._signature(0))

    def _signature(self, depth: int) -> Signature:
        pick = self._random.randrange
        below = tuple(self._signature(depth + 1) for _ in range(pick(2))) if depth < MAX_DEPTH else ()
        return Signature(
            UUID=self.text(),
            Name=self.text(),
            RoutingKey=self.text(),
            ETA=format_ns(self._random.randrange(2**62)) if self.chance(0.2) else None,
            GroupUUID=self.text(),
            GroupTaskCount=pick(100),
            Args=tuple(self._arg() for _ in range(pick(4))),
            Headers={self.text(): self._plain() for _ in range(pick(3))},
            Priority=pick(256),
            Immutable=self.chance(0.5),
            RetryCount=pick(5),
            RetryTimeout=pick(100),
            OnSuccess=below or None,
            ChordCallback=self._signature(depth + 1) if depth < 2 and self.chance(0.1) else None,
        )

    def _plain(self) -> msgspec.Raw:
        return dump("string", self.text())

    def _arg(self) -> Arg:
        type = self._random.choice(_TYPES)
        return Arg(self.text(), type, dump(type, self.value(type)))

    def value(self, type: str) -> Any:
        """A value of a type."""
        if type in ("[]byte", "[]uint8"):
            return self._random.randbytes(self._random.randrange(6))
        if type.startswith("[]"):
            return [self.value(type[2:]) for _ in range(self._random.randrange(4))]
        if type == "string":
            return self.text()
        if type == "bool":
            return self.chance(0.5)
        if type.startswith("float"):
            return struct.unpack(
                "<f", struct.pack("<f", self._random.gauss(0, 1) * 10.0 ** self._random.randrange(-20, 20))
            )[0]
        bits = int(type.lstrip("uint") or 64)
        return (
            self._random.getrandbits(bits)
            if type[0] == "u"
            else self._random.getrandbits(bits) - 2 ** (bits - 1)
        )

    def _written_state(self) -> bytes:
        results = None
        if self.chance(0.7):
            kinds = [self._random.choice(_TYPES) for _ in range(self._random.randrange(3))]
            results = tuple(TaskResult(kind, dump(kind, self.value(kind))) for kind in kinds)
        return encode_state(
            TaskState(
                TaskUUID=self.text(),
                TaskName=self.text(),
                State="SUCCESS",
                Results=results,
                Error=self.text(),
            )
        )

    def _written_group(self) -> bytes:
        uuids = tuple(self.text() for _ in range(self._random.randrange(4)))
        return encode_group(
            GroupMeta(GroupUUID=self.text(), TaskUUIDs=uuids, ChordTriggered=self.chance(0.5))
        )

    # --- arguments -------------------------------------------------------------------------------

    def _argument(self) -> Case:
        type = (
            self._random.choice(_TYPES)
            if self.chance(0.97)
            else self._random.choice(("str", "byte", "[][]int", ""))
        )
        way = self._random.randrange(4)
        if way == 0 and type in TYPES:
            value = bytes(dump(type, self.value(type)))
        elif way == 1:
            value = self._random.choice(_NUMBERS)
        elif way == 2 and type.startswith("[]"):
            count = self._random.randrange(4)
            value = b"[" + b",".join(self._random.choice(_NUMBERS) for _ in range(count)) + b"]"
            if self.chance(0.3):
                value = self._base64()
        else:
            value = self._any()
        return Case(b"A", type.encode() + b"\0" + value)

    def _base64(self) -> bytes:
        text = base64.b64encode(self._random.randbytes(self._random.randrange(8)))
        if self.chance(0.4):
            at = self._random.randrange(len(text) + 1)
            text = (
                text[:at]
                + self._random.choice((b"=", b"\\n", b"\\r", b" ", b"-", b"_", b"A", b"=="))
                + text[at:]
            )
        return b'"' + text + b'"'
