"""Everything that Go was recorded to do with bytes, done by us."""

from __future__ import annotations

import base64
import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import gotime, types
from gearmesh.wire.codec import decode, decode_group, decode_state, encode, encode_group, encode_state
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.gojson.decode import decode_signature
from gearmesh.wire.gojson.floats import float32_text, float64_text, to_float32
from gearmesh.wire.gojson.write import quote
from gearmesh.wire.retry import fibonacci_next
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskState

GOLDEN = Path(__file__).parents[2] / "golden"

#: The number of cases in each file, so that a lost case fails the test.
COUNTS = {
    "signature_codec.jsonl": 169,
    "argument_types.jsonl": 476,
    "floats.jsonl": 646,
    "strings.jsonl": 211,
    "times.jsonl": 92,
    "nesting.json": 6,
    "fibonacci.json": 61,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_files_are_whole(name: str) -> None:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    assert (len(json.loads(text)) if name.endswith(".json") else text.count("\n")) == COUNTS[name]


@pytest.mark.golden("signature_codec.jsonl")
def test_signature(case: dict[str, Any]) -> None:
    data = case["input"].encode()
    for read in (decode, decode_signature):  # with and without the fast path
        if case["go"] is None:
            with pytest.raises(RemoteProtocolError):
                read(data)
        else:
            sig = read(data)
            assert encode(sig) == case["go"].encode()
            assert read(case["go"].encode()) == sig


@pytest.mark.golden("nesting.json")
def test_nesting(case: dict[str, Any]) -> None:
    levels = case["levels"]
    assert case["input"] == """'{"OnSuccess":[' * levels + '{"Name":"x"}' + ']}' * levels"""
    data = b'{"OnSuccess":[' * levels + b'{"Name":"x"}' + b"]}" * levels
    if not case["accepted"]:
        with pytest.raises(RemoteProtocolError, match="exceeded max depth"):
            decode(data)
        return
    sig = decode(data)
    out = encode(sig)
    assert len(out) == case["output_bytes"]
    assert decode(out) == sig


# Go takes these without an error and makes another number of them: we refuse to read them.
MANGLED = {
    ("int8", "128"): "wraps to -128",
    ("int8", "-129"): "wraps to 127",
    ("int16", "32768"): "wraps to -32768",
    ("int16", "-32769"): "wraps to 32767",
    ("int32", "2147483648"): "wraps to -2147483648",
    ("int32", "-2147483649"): "wraps to 2147483647",
    ("uint8", "256"): "wraps to 0",
    ("uint16", "65536"): "wraps to 0",
    ("uint32", "4294967296"): "wraps to 0",
    ("float32", "3.5e38"): "becomes +Inf",
    ("[]byte", "[256]"): "wraps to 0",
    ("[]uint8", "[256]"): "wraps to 0",
    ("[]int8", "[128]"): "wraps to -128",
}


@pytest.mark.golden("argument_types.jsonl")
def test_argument(case: dict[str, Any]) -> None:
    kind, text = case["type"], case["value_json"]
    raw = msgspec.Raw(canonical(text.encode()))
    if not case["accepted"] or (kind, text) in MANGLED:
        with pytest.raises(RemoteProtocolError) as caught:
            types.load(kind, raw)
        expected = "value out of range" if case["accepted"] else case["error"].removeprefix("panic: ")
        assert str(caught.value) in expected or expected in str(caught.value)
        return
    value = types.load(kind, raw)
    go: Any = base64.b64decode(case["go_value"]) if kind in types.BYTES else case["go_value"]
    if "float32" in kind:  # the recording has its shortest digits
        go = [to_float32(one) for one in go] if isinstance(go, list) else to_float32(go)
    assert value == go
    assert [type(one) for one in _flat(value)] == [_python(kind)] * len(_flat(value))
    # gearmesh can send each value that Go reads, and reads it back.
    assert types.load(kind, types.dump(kind, value)) == value


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _python(kind: str) -> type:
    if kind in types.BYTES:
        return bytes
    name = kind.removeprefix("[]")
    return int if name in types.INTEGERS else {"bool": bool, "string": str}.get(name, float)


def test_mangled_cases_are_recorded() -> None:
    lines = map(json.loads, (GOLDEN / "argument_types.jsonl").read_text(encoding="utf-8").splitlines())
    accepted = {(line["type"], line["value_json"]) for line in lines if line["accepted"]}
    assert set(MANGLED) <= accepted
    for kind, text in MANGLED:
        value = json.loads(text)
        with pytest.raises(LocalProtocolError, match=r"is not (\[\])?(u?int|float|byte)"):
            types.dump(kind, value)


@pytest.mark.golden("floats.jsonl")
def test_float(case: dict[str, Any]) -> None:
    double = case["type"] == "float64"
    (value,) = struct.unpack(">d" if double else ">f", bytes.fromhex(case["bits_hex"]))
    if "error" in case:
        assert not math.isfinite(value)
        with pytest.raises(LocalProtocolError, match=case["type"]):
            types.dump(case["type"], value)
        return
    assert (float64_text if double else float32_text)(value) == case["json"]
    raw = types.dump(case["type"], value)
    assert bytes(raw) == case["json"].encode()
    back = types.load(case["type"], raw)
    assert struct.pack(">d", back) == struct.pack(">d", value)


@pytest.mark.golden("strings.jsonl")
def test_string(case: dict[str, Any]) -> None:
    octets = bytes.fromhex(case["hex"])
    assert quote(octets).decode() == case["json"]
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        # Read by Go, each bad byte is a U+FFFD, which is written raw from then on.
        if octets.isascii() or not any(byte < 0x20 or byte in b'"\\' for byte in octets):
            sig = decode(b'{"Name":"' + octets + b'"}')
            assert quote(sig.Name).decode() == case["json"].replace("\\ufffd", "\ufffd")
        return
    assert bytes(types.dump("string", text)) == case["json"].encode()
    assert types.load("string", msgspec.Raw(case["json"].encode())) == text
    assert f'"Name":{case["json"]},' in encode(Signature(Name=text)).decode()
    assert f'"Error":{case["json"]},' in encode_state(TaskState(Error=text)).decode()
    assert decode(encode(Signature(Name=text))).Name == text


@pytest.mark.golden("times.jsonl")
def test_time(case: dict[str, Any]) -> None:
    ns = case["unix_sec"] * 1_000_000_000 + case["nsec"]
    if "error" in case:
        with pytest.raises(LocalProtocolError):
            gotime.format_ns(ns, case["offset_seconds"])
        return
    text = gotime.format_ns(ns, case["offset_seconds"])
    assert f'"{text}"' == case["json"]
    # Go drops the seconds of an offset from the text, and with them moves the moment.
    lost = math.fmod(case["offset_seconds"], 60)
    assert gotime.parse(text) == ns + int(lost) * 1_000_000_000
    if not text.endswith("+00:00"):
        assert gotime.is_canonical(text)


@pytest.mark.golden("fibonacci.json")
def test_fibonacci(case: dict[str, Any]) -> None:
    assert fibonacci_next(case["start"]) == case["next"]


def _stored() -> list[tuple[str, str]]:
    """Every state, group and signature that Go was seen to write into Redis."""
    found: list[tuple[str, str]] = []
    for path in sorted((GOLDEN / "redis").glob("*.json")):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        for key in recorded.get("keys_after", {}).values():
            if key["type"] == "string":
                found.append(("SET", key["value"]))
        for command in recorded.get("redis_commands", ()):
            verb, _, rest = command.partition(" ")
            # MONITOR doubles backslashes, so a text with backslashes is ambiguous here.
            if verb in ("SET", "RPUSH", "ZADD") and "{" in rest and "\\" not in rest:
                text = rest[rest.index("{") : rest.rindex("}") + 1]
                found.append((verb, text))
    for case in json.loads((GOLDEN / "results_redis.json").read_text(encoding="utf-8"))["cases"]:
        if "stored" in case:
            found.append(("SET", case["stored"]["raw"]))
    return found


def test_values_that_go_wrote_into_redis_are_encoded_the_same() -> None:
    stored = _stored()
    for verb, text in stored:
        data = text.encode()
        if verb != "SET":
            assert encode(decode(data)) == data
        elif text.startswith('{"GroupUUID"'):
            assert encode_group(decode_group(data)) == data
        else:
            state = decode_state(data)
            assert encode_state(state) == data
            for result in state.Results or ():
                assert types.dump(result.Type, types.load(result.Type, result.Value)) == result.Value
    assert len(stored) > 150
