"""Go's own encoding/json, and a reading of protocol.md in Go, against Python: recordings first, then any input."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from bson import json_util
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import missing
from tests.support.servers import ServerMissing

from gearmesh.wire.codec import encode_state
from gearmesh.wire.state import TaskResult, TaskState
from gearmesh.wire.typenames import TYPES

from .oracle.documents import Documents
from .oracle.fuzz import Difference, compare, fuzz, fuzz_made, fuzz_stored, smallest
from .oracle.process import Case, Oracle, build
from .oracle.specs import cron_cases, due

GOLDEN = Path(__file__).parents[1] / "golden"
#: Cases of a run of CI, and the bound within which a planted difference is found.
CI_CASES = 100_000
CI_STORED_CASES = 20_000
CI_MADE_CASES = 10_000
MAX_PLANTED_CASES = 10_000
#: Specs of a run of CI; each is looked for three times.
CRON_CASES = 5_000
#: Another seed for each run of CI, so that all runs together see more; a difference prints its input.
SEED = int(os.environ.get("GEARMESH_FUZZ_SEED") or random.SystemRandom().randrange(2**32))


def golden(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / name).read_text("utf-8").split("\n") if line]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """Skip without Go; under CI it must be there."""
    try:
        build()
    except ServerMissing as exc:
        missing(exc)
        raise


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle


# --- the oracle answers as Machinery did ---------------------------------------------------------


def test_the_oracle_reads_signatures_as_machinery_did(oracle: Oracle) -> None:
    cases = golden("signature_codec.jsonl")
    answers = oracle.ask([Case(b"S", case["input"].encode()) for case in cases])
    assert len(cases) == 169
    for case, answer in zip(cases, answers, strict=True):
        assert (answer.kind == b"=") == (case["error"] is None), case["case"]
        if case["go"] is not None:
            assert answer.text.decode() == case["go"], case["case"]


def test_the_oracle_reads_arguments_as_machinery_did(oracle: Oracle) -> None:
    cases = golden("argument_types.jsonl")
    answers = oracle.ask([Case(b"A", f"{case['type']}\0{case['value_json']}".encode()) for case in cases])
    assert len(cases) == 476
    for case, answer in zip(cases, answers, strict=True):
        assert (answer.kind in b"=~") == case["accepted"], case
        if not case["accepted"]:
            assert (answer.kind == b"!") == case["error"].startswith("panic: "), case
        elif answer.kind == b"~" and "int" in case["type"] and not case["type"].startswith("[]"):
            assert answer.text.decode() == str(case["go_value"]), case


def test_the_oracle_writes_texts_and_states_as_machinery_did(oracle: Oracle) -> None:
    texts = golden("strings.jsonl")
    answers = oracle.ask([Case(b"s", bytes.fromhex(case["hex"])) for case in texts])
    assert [answer.text.decode("utf-8", "surrogateescape") for answer in answers] == [
        case["json"] for case in texts
    ]
    floats = golden("floats.jsonl")
    cases = [
        Case(b"d" if case["type"] == "float64" else b"f", bytes.fromhex(case["bits_hex"])[::-1])
        for case in floats
    ]
    for case, answer in zip(floats, oracle.ask(cases), strict=True):
        assert answer.text.decode() == case.get("json", case.get("error")), case
    for name in ("results_redis", "results_memcache"):
        stored = [
            case["stored"]["raw"]
            for case in json.loads((GOLDEN / f"{name}.json").read_text())["cases"]
            if "stored" in case
        ]
        assert [
            answer.text.decode() for answer in oracle.ask([Case(b"T", raw.encode()) for raw in stored])
        ] == stored


# --- Python answers as the oracle does -----------------------------------------------------------


def told(oracle: Oracle, differences: list[Difference]) -> str:
    return "\n".join(str(smallest(oracle, each)) for each in differences[:3])


@pytest.mark.timeout(400)  # a busy machine may give it a small share of its CPU
def test_go_and_python_agree(oracle: Oracle, note: Callable[[str, str], None]) -> None:
    report = fuzz(oracle, SEED, CI_CASES, until=3)
    note("fuzz", f"seed {SEED}: {report}")
    assert not report.differences, f"GEARMESH_FUZZ_SEED={SEED}\n{told(oracle, report.differences)}"
    assert report.cases == CI_CASES
    assert report.read > CI_CASES / 2, (
        "most inputs should be readable, or the rest of the reading is not tested"
    )


@pytest.mark.parametrize("plant", ["b", "2028", "amp", "exponent", "wrap", "repeat"])
def test_a_planted_difference_is_found(plant: str, note: Callable[[str, str], None]) -> None:
    with Oracle(plant) as oracle:
        report = fuzz(oracle, 1, MAX_PLANTED_CASES)
        assert report.differences, f"not found in {report.cases} cases"
        first = smallest(oracle, report.differences[0])
    note(f"fuzz, planted {plant}", f"found in {report.cases:,} cases: {first.case.data[:80]!r}")


def test_a_planted_difference_in_python_is_found(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    # One escape of Python's is changed: a line separator is left as it is.
    from gearmesh.wire.gojson import write

    real = write.escape_html
    for module in ("gearmesh.wire.gojson.write", "gearmesh.wire.codec", "gearmesh.wire.gojson.canonical"):
        monkeypatch.setattr(
            f"{module}.escape_html",
            lambda data: real(data).replace(b"\\u2028", "\u2028".encode()),
            raising=True,
        )
    assert fuzz(oracle, 2, MAX_PLANTED_CASES).differences


def test_a_seed_gives_the_same_cases() -> None:
    assert Documents(7).cases(50) == Documents(7).cases(50)
    assert Documents(7).cases(50) != Documents(8).cases(50)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_FIELDS = (
    "UUID",
    "Name",
    "ETA",
    "Args",
    "Headers",
    "Priority",
    "RetryCount",
    "OnSuccess",
    "ChordCallback",
    "uuid",
)
documents = st.one_of(
    st.dictionaries(st.sampled_from(_FIELDS), json_values, max_size=5).map(
        lambda each: json.dumps(each).encode()
    ),
    json_values.map(lambda each: json.dumps(each, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(st.sampled_from([b"S", b"T", b"G"]), documents), min_size=1, max_size=40))
def test_go_and_python_agree_about_generated_documents(
    oracle: Oracle, batch: list[tuple[bytes, bytes]]
) -> None:
    cases = [Case(verb, data) for verb, data in batch]
    found = [compare(case, go) for case, go in zip(cases, oracle.ask(cases), strict=True)]
    assert [str(each) for each in found if each is not None] == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(
        st.tuples(
            st.sampled_from(
                ["int8", "uint16", "int64", "uint64", "float32", "[]byte", "[]int8", "string", "bool"]
            ),
            json_values,
        ),
        min_size=1,
        max_size=40,
    )
)
def test_go_and_python_agree_about_arguments(oracle: Oracle, batch: list[tuple[str, Any]]) -> None:
    cases = [Case(b"A", f"{kind}\0{json.dumps(value)}".encode()) for kind, value in batch]
    found = [compare(case, go) for case, go in zip(cases, oracle.ask(cases), strict=True)]
    assert [str(each) for each in found if each is not None] == []


# --- MongoDB and DynamoDB ------------------------------------------------------------------------


def _require(folder: str) -> None:
    """Build an oracle; if Go cannot download its modules, skip the test, or fail it under CI."""
    try:
        build(folder)
    except ServerMissing as exc:
        missing(exc)


@pytest.fixture
def stores() -> None:
    """Skip if Go cannot download MongoDB's driver; under CI it must."""
    _require("stores")


@pytest.mark.usefixtures("stores")
def test_the_oracle_writes_mongodbs_values_as_machinery_did() -> None:
    recorded = json.loads((GOLDEN / "results_mongodb.json").read_text())["cases"]
    cases = [
        (case["arg_type"], case["arg"], case["stored"]["results"])
        for case in recorded
        if case.get("arg_type") in TYPES and (case.get("stored") or {}).get("results")
    ]
    assert len(cases) > 20
    states = [
        TaskState(
            TaskUUID="t",
            State="SUCCESS",
            Results=(TaskResult(kind, msgspec.Raw(json.dumps(value).encode())),),
        )
        for kind, value, _ in cases
    ]
    with Oracle(folder="stores") as oracle:
        answers = oracle.ask([Case(b"W", encode_state(state)) for state in states])
    for (kind, value, results), answer in zip(cases, answers, strict=True):
        assert answer.kind == b"=", (kind, value, answer)
        assert bson.decode(answer.text)["results"] == json_util.loads(json.dumps(results)), (kind, value)


@pytest.mark.usefixtures("stores")
def test_go_and_python_agree_about_values_in_mongodb_and_dynamodb(note: Callable[[str, str], None]) -> None:
    with Oracle(folder="stores") as oracle:
        report = fuzz_stored(oracle, SEED, CI_STORED_CASES, until=3)
    note("fuzz, MongoDB and DynamoDB", f"seed {SEED}: {report}")
    found = "\n".join(map(str, report.differences))
    assert not report.differences, f"GEARMESH_FUZZ_SEED={SEED}\n{found}"
    assert report.cases == CI_STORED_CASES
    assert report.read > 0.9 * CI_STORED_CASES


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("plant", ["ms", "base64", "comma", "number"])
def test_a_planted_difference_in_a_store_is_found(plant: str, note: Callable[[str, str], None]) -> None:
    with Oracle(plant, "stores") as oracle:
        report = fuzz_stored(oracle, 1, MAX_PLANTED_CASES)
    assert report.differences, f"not found in {report.cases} cases"
    note(f"fuzz, planted {plant}", f"found in {report.cases:,} cases")


@pytest.fixture
def made_items() -> None:
    """Skip if Go cannot download the part of the AWS SDK that reads items; under CI it must."""
    _require("items")


@pytest.mark.usefixtures("made_items")
def test_go_and_python_agree_about_items_that_neither_writes(note: Callable[[str, str], None]) -> None:
    with Oracle(folder="items") as oracle:
        report = fuzz_made(oracle, SEED, CI_MADE_CASES, until=3)
    note("fuzz, DynamoDB's items made by hand", f"seed {SEED}: {report}")
    found = "\n".join(map(str, report.differences))
    assert not report.differences, f"GEARMESH_FUZZ_SEED={SEED}\n{found}"
    assert report.cases == CI_MADE_CASES
    assert CI_MADE_CASES / 2 < report.read < 0.9 * CI_MADE_CASES, "Go should refuse some, but not most"


@pytest.mark.usefixtures("made_items")
@pytest.mark.parametrize("plant", ["case", "set"])
def test_a_planted_difference_in_an_item_is_found(plant: str, note: Callable[[str, str], None]) -> None:
    with Oracle(plant, "items") as oracle:
        report = fuzz_made(oracle, 1, MAX_PLANTED_CASES)
    assert report.differences, f"not found in {report.cases} cases"
    note(f"fuzz, planted {plant}", f"found in {report.cases:,} cases")


# --- cron ----------------------------------------------------------------------------------------


def test_go_and_python_agree_when_a_spec_is_due(note: Callable[[str, str], None]) -> None:
    try:
        build("cron")
    except ServerMissing as exc:
        missing(exc)
    cases = cron_cases(SEED, CRON_CASES)
    with Oracle(folder="cron") as oracle:
        answers = oracle.ask(cases)
    differences = [
        f"{case.data!r}\n  Go     {go}\n  Python {ours}"
        for case, go in zip(cases, answers, strict=True)
        if (ours := due(case)) != go and not (ours.kind == b"-" and go.kind in b"-!")
    ]
    due_count = sum(answer.kind == b"=" for answer in answers)
    note(
        "cron",
        f"seed {SEED}: {len(cases):,} specs, {due_count:,} of them valid, {len(differences)} differences",
    )
    assert differences == [], "\n".join(differences[:5])
    assert due_count > CRON_CASES / 2


def test_go_leaves_out_years_where_midnight_is_skipped() -> None:
    try:
        build("cron")
    except ServerMissing as exc:
        missing(exc)
    case = Case(b"C", b"@yearly\0Africa/Casablanca\x001185817988")
    years = [2008, 2009, 2010, 2011, 2012]
    new_year = {year: int(datetime(year, 1, 1, tzinfo=timezone.utc).timestamp()) * 10**9 for year in years}
    with Oracle(folder="cron") as oracle:
        (go,) = oracle.ask([case])
    assert [int(moment) for moment in go.text.split()] == [new_year[year] for year in (2008, 2011, 2012)]
    assert [int(moment) for moment in due(case).text.split()] == [
        new_year[year] for year in (2008, 2009, 2010)
    ]
