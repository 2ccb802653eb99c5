"""Reading and writing, ours against recordings and against another implementation's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gearmesh.testing.peer import Counter, Peer, make_app
from gearmesh.wire.signature import Signature
from gearmesh.wire.types import INTEGERS, TYPES

from .peers import Peers
from .scenarios import Json

GOLDEN = Path(__file__).parents[1] / "golden"
Ask = Callable[[bytes], Json]
#: The same examples each time, and no clock: the other side is a process of its own.
SAMPLE = settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def golden(name: str) -> list[Json]:
    return [json.loads(line) for line in (GOLDEN / name).read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def ours() -> Iterator[Ask]:
    """The Python peer, in this process."""
    with make_app(broker="memory://decoding", backend="null") as app:
        peer = Peer(app, Counter())

        def ask(line: bytes) -> Json:
            answer: Json = json.loads(peer.answer(line))
            return answer

        yield ask


@pytest.fixture(scope="module")
def theirs(peers: Peers, fresh_url: Callable[[], str]) -> Ask:
    """The other implementation's."""
    return peers.start("go", fresh_url(), "-mode", "client").ask_text


def decode_line(text: str) -> bytes:
    return json.dumps({"Op": "decode", "Raw": text}).encode()


def reflect_line(type: str, value: str) -> bytes:
    arg = f'{{"Name":"","Type":{json.dumps(type)},"Value":{value}}}'
    return f'{{"Op":"reflect","Sig":{{"Name":"x","Args":[{arg}]}}}}'.encode()


def test_decode_as_recorded(ours: Ask) -> None:
    for case in golden("signature_codec.jsonl"):
        answer = ours(decode_line(case["input"]))
        assert answer["OK"] is (case["go"] is not None), case
        assert answer.get("Raw") == case["go"], case


@pytest.mark.peer
def test_decode_golden_inputs_as_the_peer(ours: Ask, theirs: Ask) -> None:
    for case in golden("signature_codec.jsonl"):
        line = decode_line(case["input"])
        assert same_decoding(ours(line), theirs(line)), case["case"]
    for levels in (600, 3000, 4999, 5000):
        line = decode_line('{"OnSuccess":[' * levels + '{"Name":"x"}' + "]}" * levels)
        assert same_decoding(ours(line), theirs(line)), levels


def same_decoding(one: Json, two: Json) -> bool:
    return bool(one["OK"] == two["OK"] and one.get("Raw") == two.get("Raw"))


# --- documents that are nearly signatures ---------------------------------------------------------

_NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "-1",
        "255",
        "256",
        "3.0",
        "2.50",
        "1e2",
        "1E400",
        "9223372036854775807",
        "9223372036854775808",
    ]
)
_TIMES = st.sampled_from(
    [
        "2026-11-21T13:03:42.123456789Z",
        "2026-11-21T13:03:42.100Z",
        "2026-11-21T13:03:42,5Z",
        "2026-11-21T13:03:42+01:30",
        "2026-02-30T00:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21 13:03:42Z",
        "",
    ]
).map(json.dumps)
_TEXTS = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(['"\\ud800"', '"\\ud83d\\ude00"', '"\\/<&>"', '"\u2028"', '"\\u0000"']),
)
_SCALARS = st.one_of(_NUMBERS, _TIMES, _TEXTS, st.sampled_from(["null", "true", "false", "{}", "[]"]))
_SPACE = st.sampled_from(["", "", "", " ", "\n\t"])


def _objects(
    keys: st.SearchStrategy[str], values: st.SearchStrategy[str], most: int
) -> st.SearchStrategy[str]:
    pair = st.tuples(_SPACE, keys.map(lambda key: json.dumps(key, ensure_ascii=False)), values)
    return st.lists(pair, max_size=most).map(
        lambda pairs: "{" + ",".join(f"{s}{k}:{s}{v}" for s, k, v in pairs) + "}"
    )


def _lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")


_JSON = st.recursive(
    _SCALARS, lambda inner: st.one_of(_lists(inner), _objects(st.text(max_size=3), inner, 3)), max_leaves=5
)


def _cased(name: str) -> st.SearchStrategy[str]:
    folded = name.replace("s", "\u017f").replace("k", "\u212a")
    return st.sampled_from([name, name, name, name.lower(), name.upper(), folded])


_ARG_KEYS = st.sampled_from(["Name", "Type", "Value", "other"]).flatmap(_cased)
_ARGS = st.one_of(_lists(_objects(_ARG_KEYS, _JSON, 5)), _JSON)
_FIELDS = [*Signature.__struct_fields__, "Unknown"]


def _signatures(nested: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    values = {
        "Args": _ARGS,
        "Headers": st.one_of(_objects(st.text(max_size=3), _JSON, 4), _JSON),
        "OnSuccess": st.one_of(_lists(nested), _SCALARS),
        "OnError": st.one_of(_lists(nested), _SCALARS),
        "ChordCallback": st.one_of(nested, _SCALARS),
        "ETA": st.one_of(_TIMES, _SCALARS),
    }

    def pair(name: str) -> st.SearchStrategy[str]:
        plain = st.one_of(_SCALARS, _TEXTS if "UUID" in name or name == "Name" else _NUMBERS)
        value = values.get(name, plain)
        return st.tuples(_SPACE, _cased(name), value).map(
            lambda p: f"{p[0]}{json.dumps(p[1], ensure_ascii=False)}:{p[2]}{p[0]}"
        )

    pairs = st.lists(st.sampled_from(_FIELDS).flatmap(pair), max_size=6)
    return pairs.map(lambda found: "{" + ",".join(found) + "}")


_DOCUMENTS = st.tuples(
    _signatures(st.one_of(st.just("null"), _signatures(st.just("null")))),
    st.sampled_from(["", "", " ", "x", "{}"]),
).map("".join)


@pytest.mark.peer
def test_decode_a_sample_as_the_peer(ours: Ask, theirs: Ask) -> None:
    @SAMPLE
    @given(_DOCUMENTS)
    def agree(text: str) -> None:
        line = decode_line(text)
        one, two = ours(line), theirs(line)
        assert same_decoding(one, two), f"{text}\nours:   {one}\ntheirs: {two}"

    agree()


# --- arguments ------------------------------------------------------------------------------------

_FLOAT_TEXTS = st.floats(allow_nan=False, allow_infinity=False).map(repr)
_NEAR = st.sampled_from(
    sorted({n + d for low, high in INTEGERS.values() for n in (low, high) for d in (-1, 0, 1)})
)
_VALUES = st.one_of(
    _SCALARS,
    _FLOAT_TEXTS,
    _NEAR.map(str),
    st.binary(max_size=6).map(lambda octets: json.dumps(base64.b64encode(octets).decode())),
    _lists(st.one_of(_NUMBERS, _TEXTS, _NEAR.map(str), _FLOAT_TEXTS, st.sampled_from(["true", "null"]))),
    _lists(_NUMBERS),
    _lists(_TEXTS),
)
_TYPE_NAMES = st.sampled_from([*sorted(TYPES), "complex64", "", "[]any"])


def accepted(answer: Json) -> Any:
    return (answer["Types"], answer["Results"])


def compare_reading(line: bytes, value: str, ours: Json, theirs: Json) -> None:
    """Assert that both give the same answer, or that gearmesh refuses an argument that Go reads as another value."""
    told = f"{line.decode()}\nours:   {ours}\ntheirs: {theirs}"
    if ours["OK"]:
        assert theirs["OK"], told
        assert accepted(ours) == accepted(theirs), told
    elif theirs["OK"]:
        # In Go integers wrap. It writes a list of bytes as base64, so decode that to compare the numbers.
        (result,) = theirs["Results"]
        sent = json.loads(value)
        if isinstance(result, str) and isinstance(sent, list):
            result = list(base64.b64decode(result))
        assert result != sent, told


def test_reflect_as_recorded(ours: Ask) -> None:
    for case in golden("argument_types.jsonl"):
        answer = ours(reflect_line(case["type"], case["value_json"]))
        if not case["accepted"]:
            assert not answer["OK"], case
        elif answer["OK"]:
            assert accepted(answer) == ([case["go_type"]], [case["go_value"]]), case
        else:
            assert "out of range" in answer["Err"], case


@pytest.mark.peer
def test_reflect_golden_arguments_as_the_peer(ours: Ask, theirs: Ask) -> None:
    for case in golden("argument_types.jsonl"):
        line = reflect_line(case["type"], case["value_json"])
        compare_reading(line, case["value_json"], ours(line), theirs(line))


@pytest.mark.peer
def test_reflect_a_sample_as_the_peer(ours: Ask, theirs: Ask) -> None:
    @SAMPLE
    @given(_TYPE_NAMES, _VALUES)
    def agree(type: str, value: str) -> None:
        line = reflect_line(type, value)
        compare_reading(line, value, ours(line), theirs(line))

    agree()
