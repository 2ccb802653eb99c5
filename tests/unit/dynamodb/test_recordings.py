"""The items that Go wrote into DynamoDB or read from it: every line of the recordings is a test."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gearmesh.backends.dynamodb.items import changes_of, expired, group_item, group_of, state_of
from gearmesh.backends.dynamodb.values import from_attribute, to_attribute
from gearmesh.errors import GearmeshError
from gearmesh.wire import types
from gearmesh.wire.names import DYNAMODB_EXPIRES
from gearmesh.wire.state import FAILURE, PENDING, SUCCESS, ZERO_TIME, TaskState

CLOUD = Path(__file__).parents[2] / "golden" / "cloud"
#: file and line -> table, item
ITEMS = {
    f"{name}-{number}": (line.partition(" ")[0], json.loads(line.partition(" ")[2]))
    for name in ("ddb-simple-fail", "ddb-v2.0.13")
    for number, line in enumerate((CLOUD / f"{name}.txt").read_text().splitlines())
}
STATES = {name: item for name, (table, item) in ITEMS.items() if table == "task_states"}
GROUPS = {name: item for name, (table, item) in ITEMS.items() if table == "group_metas"}
#: The results of Go's tasks ``add``, ``echo`` and ``concat`` in these runs, by their stored text.
GO_RESULTS = {"3": 3, "hi": "hi", "a": "a", "b": "b", "c": "c", "c|a|b": "c|a|b"}


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_go_s(name: str) -> None:
    item = STATES[name]
    state = state_of(item)
    assert (state.TaskUUID, state.TaskName) == (item["TaskUUID"]["S"], item["TaskName"]["S"])
    assert (state.State, state.CreatedAt) == (item["State"]["S"], item["CreatedAt"]["S"])
    assert state.Error == item["Error"].get("S", ""), "S, or NULL where there is none"
    assert expired(item, int(item["TTL"]["N"]))
    assert not expired(item, int(item["TTL"]["N"]) - 1)
    if "L" not in item["Results"]:
        assert state.Results == (() if state.State == SUCCESS else None)
        return
    assert state.Results is not None
    for result, stored in zip(state.Results, item["Results"]["L"], strict=True):
        assert result.Type == stored["M"]["Type"]["S"]
        assert types.load(result.Type, result.Value) == GO_RESULTS[stored["M"]["Value"]["S"]]


@pytest.mark.parametrize("name", STATES)
def test_our_item_is_go_s_but_for_typed_values(name: str) -> None:
    """Go writes texts for values, which it can't read; and NULL for no Error where its AWS client was the old one."""
    item = STATES[name]
    state = state_of(item)
    pending = TaskState(
        TaskUUID=state.TaskUUID, TaskName=state.TaskName, State=PENDING, CreatedAt=state.CreatedAt
    )
    ((change,), refused) = changes_of([pending, state], int(item["TTL"]["N"]))
    assert refused is None
    assert change.item is not None
    ours = dict(change.item)
    if "L" in item["Results"]:
        values = [result["M"].pop("Value") for result in ours["Results"]["L"]]
        texts = [result["M"].pop("Value")["S"] for result in json.loads(json.dumps(item["Results"]["L"]))]
        assert [next(iter(value.values())) for value in values] == texts
        ours["Results"] = item["Results"]
    if item["Error"] == {"NULL": True}:
        assert ours.pop("Error") == {"S": ""}
        ours["Error"] = {"NULL": True}
    assert ours == item


def test_our_pending_item() -> None:
    pending = TaskState(
        TaskUUID="task_x", TaskName="add", State=PENDING, CreatedAt="2026-11-21T13:28:13.158587268Z"
    )
    ((change,), _) = changes_of([pending], 1_795_271_309)
    assert change.item == {
        "TaskUUID": {"S": "task_x"},
        "TaskName": {"S": "add"},
        "State": {"S": "PENDING"},
        "Results": {"NULL": True},
        "Error": {"S": ""},
        "CreatedAt": {"S": "2026-11-21T13:28:13.158587268Z"},
        "TTL": {"N": "0"},
        DYNAMODB_EXPIRES: {"N": "1795271309"},
    }


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_of_go_s(name: str) -> None:
    item = GROUPS[name]
    meta = group_of(item)
    assert meta.GroupUUID == item["GroupUUID"]["S"]
    assert meta.TaskUUIDs == tuple(each["S"] for each in item["TaskUUIDs"]["L"])
    assert (meta.ChordTriggered, meta.Lock) == (True, False)
    assert meta.CreatedAt == item["CreatedAt"]["S"]
    assert group_item(meta, int(item["TTL"]["N"])) == item


def test_all_recorded_items_are_used() -> None:
    assert (len(STATES), len(GROUPS)) == (10, 1)


# --- items that Go has read ----------------------------------------------------------------------

CREATED = {"S": "2026-11-21T13:31:12.947397078Z"}


def result(type: str, value: Any) -> dict[str, Any]:
    return {"L": [{"M": {"Type": {"S": type}, "Value": value}}]}


#: The items that Go has read, by the names in the recording: their differences from a SUCCESS without results.
SHOWN: dict[str, dict[str, Any]] = {
    "a-nocreated": {"CreatedAt": None},
    "b-offset": {"CreatedAt": {"S": "2026-11-21T13:31:12.947397+00:00"}},
    "c-gostring": {"CreatedAt": {"S": "2026-11-21 13:31:12.947397078 +0000 UTC"}},
    "d-epochN": {"CreatedAt": {"N": "1795268000"}},
    "n-emptycreated": {"CreatedAt": {"S": ""}},
    "e-int64-N": {"Results": result("int64", {"N": "3"})},
    "e2-float64-N": {"Results": result("float64", {"N": "0.5"})},
    "f-bool-BOOL": {"Results": result("bool", {"BOOL": True})},
    "g-[]string-L": {"Results": result("[]string", {"L": [{"S": "a"}]})},
    "h-[]int64-LN": {"Results": result("[]int64", {"L": [{"N": "1"}]})},
    "h2-[]float64-LN": {"Results": result("[]float64", {"L": [{"N": "1.5"}]})},
    "i-[]byte-B": {"Results": result("[]uint8", {"B": b"\x01\xff"})},
    "i2-[]byte-b64S": {"Results": result("[]uint8", {"S": "Af8="})},
    "i3-[]string-SS": {"Results": result("[]string", {"SS": ["a"]})},
    "j-TTL-S": {"TTL": {"S": "1795271309"}},
    "k-noresults": {"Results": None},
    "l-errNULL": {"Error": {"NULL": True}},
    "m-valNULL": {"Results": result("[]string", {"NULL": True})},
    "o-extra": {"gearmesh_expires": {"N": "1795271309"}, "Unknown": {"M": {}}},
    "p-noTTL": {"TTL": None},
}


def recorded() -> dict[str, dict[str, Any]]:
    """Go's answers: ``state`` (None: it could not read it), ``read`` (the results' text), ``refused`` (it has none)."""
    answers: dict[str, dict[str, Any]] = {}
    for line in (CLOUD / "go-getstate-variants.txt").read_text().splitlines():
        if line.startswith("GETSTATE "):
            name = line.split(" ")[1]
            answers[name] = {"refused": False, "read": None}
        elif line.startswith("   {") or line == "   null":
            answers[name]["state"] = json.loads(line)
        elif line.startswith("   RESULT: "):
            answers[name]["read"] = line.removeprefix("   RESULT: ")
        elif line.startswith("   REFLECT ERROR"):
            answers[name]["refused"] = True
    return answers


GO = recorded()


def shown(name: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        "TaskUUID": {"S": name},
        "TaskName": {"S": "add"},
        "State": {"S": SUCCESS},
        "Results": {"NULL": True},
        "Error": {"S": ""},
        "CreatedAt": CREATED,
        "TTL": {"N": "0"},
    }
    item |= SHOWN[name]
    return {key: value for key, value in item.items() if value is not None}


def test_every_recorded_variant_is_shown() -> None:
    assert {*SHOWN, "missing-key"} == set(GO)


@pytest.mark.parametrize("name", SHOWN)
def test_a_variant_is_read_as_go_reads_it(name: str) -> None:
    state, go = state_of(shown(name)), GO[name]["state"]
    assert (state.TaskUUID, state.TaskName, state.State, state.Error) == (name, "add", SUCCESS, "")
    if go is None:  # Go can't read the state at all; gearmesh leaves out the wrong attribute only
        assert state.CreatedAt == (CREATED["S"] if name == "j-TTL-S" else ZERO_TIME)
        return
    assert state.CreatedAt.replace("+00:00", "Z") == go["CreatedAt"]
    stored = [{"Type": each.Type, "Value": json.loads(bytes(each.Value))} for each in state.Results or ()]
    assert stored == (go["Results"] or [])


def test_a_missing_state_is_none_here() -> None:
    """Go gives a state without a State."""
    assert GO["missing-key"]["state"]["State"] == ""


@pytest.mark.parametrize(
    "name", [name for name, item in SHOWN.items() if (item.get("Results") or {}).get("L")]
)
def test_values_that_go_reads_are_written_so(name: str) -> None:
    """Python's form of a value is the one that Go reads, and for integers, of which Go reads none, a number."""
    ((stored),) = shown(name)["Results"]["L"]
    ours = to_attribute(from_attribute(stored))
    if name == "i2-[]byte-b64S":
        assert ours["M"]["Value"] == {"B": base64.b64decode("Af8=")}, "Go reads both"
    elif name == "i3-[]string-SS":
        assert ours["M"]["Value"] == {"L": [{"S": "a"}]}, "Go reads both"
    else:
        assert ours == stored
    assert GO[name]["refused"] == ("int64" in name)


# --- the texts of Go's results -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("bool", "true", True),
        ("bool", "false", False),
        ("int8", "-3", -3),
        ("uint64", "18446744073709551615", 2**64 - 1),
        ("float64", "0.1", 0.1),
        ("float64", "1e+21", 1e21),
        ("float64", "-0", -0.0),
        ("float64", "1.7976931348623157e+308", 1.7976931348623157e308),
        ("float32", "0.1", 0.10000000149011612),
        ("string", "[a b]", "[a b]"),
        ("string", "", ""),
        ("[]bool", "[true false]", [True, False]),
        ("[]int64", "[1 2 255]", [1, 2, 255]),
        ("[]int64", "[]", []),
        ("[]uint8", "[1 2 255]", b"\x01\x02\xff"),
        ("[]uint8", "[]", b""),
        ("[]uint16", "[1 300]", [1, 300]),
        ("[]float64", "[1 0.5 1e+21]", [1.0, 0.5, 1e21]),
        ("[]string", "[a b]", ["a", "b"]),
        ("[]string", "[]", []),
    ],
)
def test_a_text_of_go_s(type: str, text: str, value: Any) -> None:
    read = from_attribute({"M": {"Type": {"S": type}, "Value": {"S": text}}})
    assert read.Type == type
    loaded = types.load(type, read.Value)
    assert (loaded, repr(loaded)) == (value, repr(value))


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("float64", "NaN"),
        ("float64", "+Inf"),
        ("int64", "1.5"),
        ("[]int64", "[a]"),
        ("[]int64", "3"),
        ("bool", "maybe"),
    ],
)
def test_a_text_that_is_no_such_value(type: str, text: str) -> None:
    """The state can be read; a caller that wants the value gets an error."""
    read = from_attribute({"M": {"Type": {"S": type}, "Value": {"S": text}}})
    assert bytes(read.Value) == msgspec.json.encode(text)
    with pytest.raises(GearmeshError):
        types.load(type, read.Value)


def test_a_failure_keeps_no_results() -> None:
    ((change,), _) = changes_of([TaskState(TaskUUID="task_x", State=FAILURE, Error="boom")], 77)
    assert change.item is None, "name and time stay in place"
    assert change.fields == {
        "State": {"S": FAILURE},
        "Results": {"NULL": True},
        "Error": {"S": "boom"},
        "TTL": {"N": "77"},
    }
    assert change.removed == (DYNAMODB_EXPIRES,)


# --- odd items that no program writes: the oracle in tests/interop/oracle/items has more of these --


def test_capitals_in_names_do_not_matter() -> None:
    result = {"type": {"S": "int64"}, "VALUE": {"N": "3"}}
    item = {"taskuuid": {"S": "task_x"}, "STATE": {"S": SUCCESS}, "results": {"L": [{"M": result}]}}
    state = state_of(item)
    assert (state.TaskUUID, state.State) == ("task_x", SUCCESS)
    assert state.Results is not None
    assert [(each.Type, bytes(each.Value)) for each in state.Results] == [("int64", b"3")]
    assert group_of({"groupUUID": {"S": "group_x"}, "lock": {"BOOL": True}}).Lock


def test_a_set_of_members_and_a_number_as_a_text() -> None:
    assert group_of({"TaskUUIDs": {"SS": ["a", "b"]}}).TaskUUIDs == ("a", "b")
    assert state_of({"TaskName": {"N": "5"}}).TaskName == "5"


@pytest.mark.parametrize("value", [{"N": "12"}, {"S": "ab"}])
def test_a_value_of_another_type_is_no_list_of_bytes(value: Any) -> None:
    """The reader of JSON takes a number for the bytes of its text, as Go does; Go's reader of DynamoDB does not."""
    read = from_attribute({"M": {"Type": {"S": "[]uint64"}, "Value": value}})
    with pytest.raises(GearmeshError):
        types.load(read.Type, read.Value)
