"""The rows of the table of scenarios that differ if the result backend is not Redis.

Memcache has the same JSON, so nothing is different. MongoDB has BSON: Machinery can't read back most of its own values
(recordings ``results_mongodb.json``), nor all values that Python writes for it. In DynamoDB it stores all
values as text and can read only strings back (recordings ``cloud/go-getstate-variants.txt``).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final, Literal

from .scenarios import ABSENT, Json, Scenario, Side, Step

Store = Literal["memcache", "mongodb", "dynamodb"]

#: The largest integer of BSON.
_LARGEST: Final = 2**63 - 1
#: The types whose values Go stores in a form that it can read back.
_GO_READS: Final = frozenset(
    f"{slice}{name}" for slice in ("", "[]") for name in ("bool", "int64", "float32", "float64", "string")
)
#: The types whose values Go reads back from DynamoDB as Python stores them: there is no such form for integers.
_GO_READS_TYPED: Final = frozenset(
    (
        "[]uint8",
        *(f"{slice}{name}" for slice in ("", "[]") for name in ("bool", "float32", "float64", "string")),
    )
)
#: Rows whose chord's callback takes integers, but gets the results of Go's members as text.
_INTEGER_CHORDS: Final = frozenset(
    ("chord of ten", "chord whose callback is followed", "chord whose callback fails")
)
#: Rows that are about the broker: with another backend they are run only where there is another implementation.
_BROKER: Final = frozenset(
    (
        "ETA",
        "ETA in the past",
        "retry twice",
        "RetryLater",
        "custom queue",
        "pending",
        "delayed",
        "flood",
        "sleep",
    )
)


def skipped(scenario: Scenario, store: Store, client: Side, worker: Side, sides: tuple[Side, ...]) -> str:
    """Why a scenario is not for these two; ``""``: it is."""
    if scenario.name in _BROKER and len(sides) == 1:
        return "it is about the broker, and the two sides are one"
    if store == "mongodb" and worker == "go" and any(map(_beyond, _results(scenario))):
        return "a uint64 that MongoDB has not leaves Go's task STARTED, and stops a worker of v2 for good"
    if store == "mongodb" and worker == "go" and scenario.name == "chord gives its members' order":
        return "Go gives a chord's results as MongoDB finds them, in no order"
    if store == "dynamodb" and worker == "go" and scenario.name in _INTEGER_CHORDS:
        return "Go gives the callback texts in place of integers, and a worker of v2 never works again"
    if store == "dynamodb" and worker == "go" and scenario.name == "chord gives its members' order":
        return "Go gives a chord's results as DynamoDB finds them, in no order"
    if store == "dynamodb" and client == "go" and scenario.name == "group":
        return "Go reads no integers from DynamoDB, so it has no answer with a group to look at"
    return ""


def steps_for(scenario: Scenario, store: Store, client: Side, worker: Side) -> list[tuple[Step, Json]]:
    """As :meth:`Scenario.steps_for`, with this backend's answers."""
    steps = scenario.steps_for(client, worker)
    if store == "memcache":
        return steps
    if store == "dynamodb":
        return [
            (_text_step(step, client, worker), _typed_answer(step, want, client, worker))
            for step, want in steps
        ]
    return [(_step(step, client), _answer(want, client, worker)) for step, want in steps]


def _text_step(step: Step, client: Side, worker: Side) -> Step:
    if step.results is not None and client == worker == "go":
        return replace(step, results=[str(value) for value in step.results])
    return step


def _typed_answer(step: Step, want: Json, client: Side, worker: Side) -> Json:
    if worker == "go" and want.get("Results") == [[""]]:
        want = {**want, "Results": [[]]}  # Go: both are the text "[]"
    if client == "python":
        return want
    ask = step.ask["Op"]
    if ask == "state" and not want["OK"]:
        return {"OK": True, "State": ABSENT}  # Go: a state that is not there is an empty one
    if ask == "chain" and not want["OK"]:
        return {"OK": False}  # Go: the first result that it cannot read is the error
    if not want.get("OK") or want.get("Results", ABSENT) == ABSENT:
        return want
    members = step.ask.get("Sigs", [step.ask.get("Sig")])
    if ask == "chord" and any(each["Name"] == "add" for each in members):
        return {"OK": True, "Results": ABSENT}  # Go: GetWithTimeout hides a member's error
    types = want.get("Types") or ["int64" if isinstance(each, int) else "string" for each in want["Results"]]
    values = zip(types, want["Results"], strict=True)
    return want if all(_go_reads_typed(type, value, worker) for type, value in values) else {"OK": False}


def _go_reads_typed(type: str, value: Any, worker: Side) -> bool:
    if worker == "go":
        return type == "string"
    values = value if isinstance(value, list) else [value]
    # A float that DynamoDB's numbers cannot hold is stored as text.
    held = all(each == 0 or 1e-130 <= abs(each) < 1e126 for each in values if isinstance(each, float))
    return (type in _GO_READS_TYPED or values == []) and held


def _step(step: Step, client: Side) -> Step:
    if step.ask["Op"] == "group_states" and client == "go":
        # Go: the states of a group come as MongoDB finds them.
        return replace(step, check=_all_success)
    return step


def _all_success(answer: Json) -> None:
    states = json.loads(answer["Raw"])
    assert {state["State"] for state in states} == {"SUCCESS"}
    assert sorted(state["Results"][0]["Value"] for state in states) == list(range(len(states)))


def _answer(want: Json, client: Side, worker: Side) -> Json:
    if not want.get("OK") or "Types" not in want:
        return want
    results = list(zip(want["Types"], want["Results"], strict=True))
    if any(_beyond(value) for _, value in results):
        return {"OK": False}  # Python refuses it, with FAILURE
    if client == "go" and not all(_go_reads(type, value, worker) for type, value in results):
        return {"OK": False}
    return want


def _go_reads(type: str, value: Any, worker: Side) -> bool:
    name = type.removeprefix("[]")
    values = value if isinstance(value, list) else [value]
    if type in _GO_READS or values == []:
        return True
    if worker == "go":
        # Go: an int that has room in 32 bits is stored so.
        return name == "int" and all(each != (each + 2**31) % 2**32 - 2**31 for each in values)
    # Python writes integers as int64; base64 for bytes, and for unsigned slices where that can be.
    return name.startswith("int") or type == "[]uint8" or (type.startswith("[]uint") and max(values) < 256)


def _beyond(value: Any) -> bool:
    return any(
        isinstance(each, int) and each > _LARGEST for each in (value if isinstance(value, list) else [value])
    )


def _results(scenario: Scenario) -> list[Any]:
    wanted = (step.want.get("Results", ABSENT) for step in scenario.steps)
    return [value for results in wanted if results != ABSENT for value in results]
