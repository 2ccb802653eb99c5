"""Gives the same inputs to Go and to Python, and compares their answers."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gearmesh.errors import LocalProtocolError, ProtocolError
from gearmesh.wire.codec import decode, decode_group, decode_state, encode, encode_group, encode_state
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.gojson.write import quote
from gearmesh.wire.types import dump, load

from .documents import Documents
from .made_items import MadeItems, difference_of
from .process import Answer, Case, Oracle
from .stored import StoredDocuments, expected, understood

__all__ = [
    "BATCH_CASES",
    "Difference",
    "Report",
    "compare",
    "compare_made",
    "compare_stored",
    "fuzz",
    "fuzz_made",
    "fuzz_stored",
    "python",
    "smallest",
]

#: Cases of one exchange with the oracle.
BATCH_CASES: Final = 2000
#: Attempts to make a difference smaller.
MAX_ATTEMPTS: Final = 400


class Difference(NamedTuple):
    """A case of which Go and Python do not make the same."""

    case: Case
    go: Answer
    python: Answer

    def __str__(self) -> str:
        return (
            f"{self.case.verb.decode()} {self.case.data!r}\n  Go     {self.go.kind.decode()} {self.go.text!r}\n"
            f"  Python {self.python.kind.decode()} {self.python.text!r}"
        )


class Report(NamedTuple):
    """The outcome of a run: how many cases, in how many seconds and seconds of Python's CPU, how
    many were no error in Go, and the differences."""

    cases: int
    seconds: float
    cpu_s: float
    read: int
    differences: list[Difference]

    def __str__(self) -> str:
        rate = self.cases / max(self.seconds, 1e-9)
        return (
            f"{self.cases:,} cases, {self.read:,} of them readable, {len(self.differences)} differences, "
            f"in {self.seconds:.0f} s ({rate:,.0f}/s; {self.cpu_s:.0f} s of CPU here)"
        )


def fuzz(oracle: Oracle, seed: int, cases: int, *, until: int = 1) -> Report:
    """Compare ``cases`` cases of messages, states as JSON, arguments; end early after ``until`` differences."""
    return _fuzz(oracle, Documents(seed), cases, compare, until)


def fuzz_stored(oracle: Oracle, seed: int, cases: int, *, until: int = 1) -> Report:
    """Compare ``cases`` cases of MongoDB's documents and DynamoDB's items; the oracle is that of ``stores``."""
    return _fuzz(oracle, StoredDocuments(seed), cases, compare_stored, until)


def fuzz_made(oracle: Oracle, seed: int, cases: int, *, until: int = 1) -> Report:
    """Compare ``cases`` items of DynamoDB that neither language has written; the oracle is that of ``items``."""
    return _fuzz(oracle, MadeItems(seed), cases, compare_made, until)


def _fuzz(
    oracle: Oracle,
    documents: Documents | StoredDocuments | MadeItems,
    cases: int,
    compare: Callable[[Case, Answer], Difference | None],
    until: int,
) -> Report:
    differences: list[Difference] = []
    begun, begun_cpu = time.monotonic(), time.process_time()
    done = read = 0
    while done < cases and len(differences) < until:
        batch = documents.cases(min(BATCH_CASES, cases - done))
        answers = oracle.ask(batch)
        for case, go in zip(batch, answers, strict=True):
            read += go.kind == b"="
            if (found := compare(case, go)) is not None:
                differences.append(found)
        done += len(batch)
    return Report(done, time.monotonic() - begun, time.process_time() - begun_cpu, read, differences)


def compare(case: Case, go: Answer) -> Difference | None:
    """Return the difference between the answers of Go and Python, None if there is none.

    Python must refuse a document that Go reads as another value (``~``) or that ends a Go process (``!``):
    docs/reference/protocol.md, section 8.
    """
    ours = python(case)
    same = go == ours if go.kind == b"=" else ours.kind == b"-"
    return None if same else Difference(case, go, ours)


def compare_stored(case: Case, go: Answer) -> Difference | None:
    """Return the difference if one language reads another value than the other wrote, or only one refuses it."""
    wanted = expected(case)
    found = understood(case, go)
    same = found == wanted if go.kind == b"=" else go.kind == wanted.kind == b"-"
    return None if same else Difference(case, go if go.kind != b"=" else found, wanted)


def compare_made(case: Case, go: Answer) -> Difference | None:
    """The difference, if Python reads an item in another way than Go does, or fails at one."""
    ours = difference_of(case, go)
    return None if ours is None else Difference(case, go, ours)


def python(case: Case) -> Answer:
    """The answer of Python's own code."""
    try:
        return Answer(b"=", _VERBS[case.verb](case.data))
    except ProtocolError as exc:
        return Answer(b"-", str(exc).encode("utf-8", "replace"))


def _argument(data: bytes) -> bytes:
    name, _, raw = data.partition(b"\0")
    type = name.decode()
    value: Any = load(type, msgspec.Raw(canonical(_first(raw))))
    if isinstance(value, bytes):
        return b"[" + b",".join(b"%d" % octet for octet in value) + b"]"
    return bytes(dump(type, value)) if not type.startswith("[]") else _list(type[2:], value)


def _list(element: str, values: Sequence[Any]) -> bytes:
    return b"[" + b",".join(bytes(dump(element, value)) for value in values) + b"]"


def _first(raw: bytes) -> bytes:
    """The first JSON value of a text: a decoder of Go's does not look at the rest."""
    from gearmesh.wire.gojson.read import read

    return raw[: read(raw)[1]]


def _float(format: str, type: str) -> Callable[[bytes], bytes]:
    def write(data: bytes) -> bytes:
        (number,) = struct.unpack(format, data)
        if number != number or number in (float("inf"), float("-inf")):
            raise LocalProtocolError("no JSON number")
        return bytes(dump(type, number))

    return write


_VERBS: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    b"S": lambda data: encode(decode(data)),
    b"T": lambda data: encode_state(decode_state(data)),
    b"G": lambda data: encode_group(decode_group(data)),
    b"A": _argument,
    b"s": quote,
    b"d": _float("<d", "float64"),
    b"f": _float("<f", "float32"),
}


def smallest(oracle: Oracle, difference: Difference) -> Difference:
    """Make a difference smaller by leaving out parts of its document, as long as it is one."""
    best = difference
    size = max(1, len(best.case.data) // 2)
    attempts = 0
    while size and attempts < MAX_ATTEMPTS:
        at = 0
        while at < len(best.case.data) and attempts < MAX_ATTEMPTS:
            attempts += 1
            case = Case(best.case.verb, best.case.data[:at] + best.case.data[at + size :])
            if case.verb in b"df" or not case.data:
                return best
            found = compare(case, oracle.ask([case])[0])
            if found is None:
                at += size
            else:
                best = found
        size //= 2
    return best
