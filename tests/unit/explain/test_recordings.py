"""``explain`` on every document in tests/golden: its text is fixed, and agrees with Go's recorded answer."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.explain.texts import check

from gearmesh.explain.text import explain, explain_document, faults
from gearmesh.wire.typenames import BYTES, INTEGERS

GOLDEN = Path(__file__).parents[2] / "golden"
#: Characters of an input that stand above its text.
MAX_SHOWN_CHARS = 300


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / name).read_text().split("\n") if line]


def document(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def together(inputs: list[tuple[str, bytes]]) -> str:
    """Return one text for several inputs: each input with its explanation below."""
    parts = []
    for name, data in inputs:
        shown = data.decode(errors="backslashreplace")
        shown = re.sub("[\x00-\x09\x0b-\x1f\x7f]", "·", shown)
        shown = shown if len(shown) <= MAX_SHOWN_CHARS else f"{shown[:MAX_SHOWN_CHARS]}… ({len(data)} bytes)"
        parts.append(f"=== {name}\n{shown}\n\n{explain(data)[0]}")
    return "\n".join(parts)


def signature(**fields: Any) -> bytes:
    return msgspec.json.encode({"UUID": "task_1", "Name": "echo", "RoutingKey": "q", **fields})


SCENARIOS = sorted(path.stem for path in (GOLDEN / "redis").glob("*.json"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_commands_of_redis(name: str) -> None:
    recorded = document(f"redis/{name}.json")
    commands = list(dict.fromkeys(recorded.get("redis_commands", ())))
    for key in ("pending_default", "pending_other", "delayed"):
        commands += [msgspec.json.encode(sig).decode() for sig in recorded.get(key, {}).get("Sigs") or ()]
    text = together([(f"command {n}", line.encode()) for n, line in enumerate(commands, 1)])
    check(f"redis/{name}", text or "The recording has no commands.\n")


@pytest.mark.parametrize(
    "recording", ["results_redis", "results_memcache", "results_mongodb", "results_mongodb_v2"]
)
def test_stored_results(recording: str) -> None:
    inputs = []
    for case in document(f"{recording}.json")["cases"]:
        name = f"{case.get('task', 'group')} {json.dumps(case.get('arg', ''))[:60]}"
        stored = case.get("stored") or case.get("group_stored")
        if stored is not None:
            inputs.append((name, stored["raw"].encode() if "raw" in stored else msgspec.json.encode(stored)))
        if "group_states_go" in case:
            inputs.append(("all states", case["group_states_go"]["Raw"].encode()))
    check(recording, together(inputs))


def test_messages_of_rabbitmq() -> None:
    def bodies(value: Any, path: str) -> Iterator[tuple[str, bytes]]:
        if isinstance(value, dict):
            for key, one in value.items():
                if key == "body":
                    yield path, one.encode()
                else:
                    yield from bodies(one, f"{path} {key}".strip())
        elif isinstance(value, list):
            for one in value:
                yield from bodies(one, path)

    check("amqp", together(list(bodies(document("amqp.json"), ""))))


def test_documents_of_the_decoder() -> None:
    cases = lines("signature_codec.jsonl")
    check("signature_codec", together([(case["case"], case["input"].encode()) for case in cases]))


@pytest.mark.parametrize("case", lines("signature_codec.jsonl"), ids=lambda case: case["case"])
def test_a_document_is_refused_if_go_refuses_it(case: dict[str, Any]) -> None:
    told = explain_document(case["input"].encode(), "signature")
    error = case["error"]
    written = error is None or "MarshalJSON" not in error  # else Go has read it, and failed to write it
    assert ("cannot be read" in told.headline) == (error is not None and written)
    if error is None:
        return
    assert faults(told)
    if written:
        assert any(one.go.endswith(f": {error}") for one in told.findings), "Go's own words"
    else:
        assert "that Go reads and gearmesh does not" in told.headline
        assert any("'timezone hour outside of range [0,23]'" in one.go for one in told.findings)


def test_deep_chains() -> None:
    for case in document("nesting.json"):
        data = eval(case["input"], {"levels": case["levels"]}).encode()
        told = explain_document(data, "signature")
        assert ("cannot be read" in told.headline) == (not case["accepted"])
        assert len(told.workflow) <= 41


def test_arguments() -> None:
    rows = []
    for case in lines("argument_types.jsonl"):
        told = explain_document(_with_argument(case), "signature")
        rows.append(f"{case['type']} {case['value_json']}")
        rows += [
            f"    {one.text}\n      Go {one.go}\n      Python {one.python or 'the same'}"
            for one in told.findings
            if one.where.startswith("Args[0]")
        ]
    check("argument_types", "\n".join(rows) + "\n")


def _with_argument(case: dict[str, Any]) -> bytes:
    return signature(
        Args=[{"Name": "", "Type": case["type"], "Value": msgspec.Raw(case["value_json"].encode())}]
    )


@pytest.mark.parametrize(
    "case", lines("argument_types.jsonl"), ids=lambda c: f"{c['type']}-{c['value_json']}"[:60]
)
def test_an_argument_is_told_as_go_reads_it(case: dict[str, Any]) -> None:
    told = explain_document(_with_argument(case), "signature")
    found = [one for one in told.findings if one.where.startswith("Args[0]") and one.level == "fault"]
    calls = bool(found) and found[0].go.startswith("calls the task with")
    if not case["accepted"]:
        assert found
        assert not calls
        error = case["error"].removeprefix("panic: ")
        panics = error != case["error"]
        assert (f"({error})" if panics else f"'Reflect task args error: {error}'") in found[0].go
        assert f"'Reflect task args error: {error}'" in found[0].python
    elif calls and isinstance(json.loads(case["value_json"]), int | float) and case["type"].startswith("[]"):
        value = base64.b64decode(case["go_value"]) if case["type"] in BYTES else case["go_value"]
        assert f"calls the task with [{', '.join(map(str, value))}]," in found[0].go
    elif case["type"] in INTEGERS and found:
        assert f"calls the task with {case['go_value']}," in found[0].go
    elif found:
        assert calls


@pytest.mark.parametrize("name", ["strings.jsonl", "floats.jsonl", "times.jsonl"])
def test_values_that_go_writes_have_nothing_wrong(name: str) -> None:
    for case in lines(name):
        if "error" in case:  # a value that Go cannot write
            continue
        raw = msgspec.Raw(case["json"].encode())
        if name == "times.jsonl":
            data = signature(ETA=raw)
        else:
            data = signature(Args=[{"Name": "", "Type": case.get("type", "string"), "Value": raw}])
        wrong = [one for one in explain_document(data, "signature").findings if one.level == "fault"]
        # The codec writes U+FFFD for a byte that is no Unicode, so it is read back as U+FFFD.
        assert wrong == [], case
