"""``explain`` on broken inputs: a fixed text each."""

from __future__ import annotations

import base64
import json

import pytest
from tests.unit.explain.texts import check

from gearmesh.explain.text import explain

GOOD = (
    '{"UUID":"task_5f6ab1e9-0000-4000-8000-000000000001","Name":"resize","RoutingKey":"images","ETA":null,'
    '"GroupUUID":"","GroupTaskCount":0,"Args":[{"Name":"","Type":"string","Value":"cat.png"},'
    '{"Name":"","Type":"uint16","Value":640}],"Headers":{},"Priority":0,"Immutable":false,"RetryCount":2,'
    '"RetryTimeout":0,"OnSuccess":null,"OnError":null,"ChordCallback":null,"BrokerMessageGroupId":"",'
    '"SQSReceiptHandle":"","StopTaskDeletionOnError":false,"IgnoreWhenTaskNotRegistered":false}'
)
STATE = (
    '{"TaskUUID":"task_5f6ab1e9-0000-4000-8000-000000000001","TaskName":"resize","State":"SUCCESS",'
    '"Results":[{"Type":"uint16","Value":640}],"Error":"","CreatedAt":"2026-11-29T10:00:00Z","TTL":0}'
)
GROUP = (
    '{"GroupUUID":"group_5f6ab1e9-0000-4000-8000-000000000009","TaskUUIDs":["task_1","task_2"],'
    '"ChordTriggered":false,"Lock":false,"CreatedAt":"2026-11-29T10:00:00Z","TTL":0}'
)


def changed(old: str, new: str, text: str = GOOD) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


BROKEN = {
    "empty": b"",
    "white_space": b" \n\t",
    "cut_off": GOOD[:150].encode(),
    "python_repr": b"{'UUID': 'task_1', 'Name': 'resize', 'Args': None}",
    "python_true": changed('"Immutable":false', '"Immutable":False'),
    "trailing_comma": changed('"Headers":{}', '"Headers":{"a":1,}'),
    "nan": changed('"Value":640', '"Value":NaN'),
    "control_character": changed("cat.png", "cat\n.png"),
    "byte_order_mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "two_documents_in_one": changed("}", "} {}", GOOD).replace(b"} {}", b"}", 1) + b' {"UUID":"task_2"}',
    "not_utf8": changed("cat.png", "CAT").replace(b"CAT", b"caf\xe9.png"),
    "half_a_surrogate": changed("cat.png", "\\ud83d.png"),
    "number_as_text": changed('"RetryCount":2', '"RetryCount":"2"'),
    "whole_number_as_float": changed('"RetryCount":2', '"RetryCount":2.0'),
    "priority_too_large": changed('"Priority":0', '"Priority":256'),
    "args_as_object": changed(
        '"Args":[{"Name":"","Type":"string","Value":"cat.png"},', '"Args":{"a":['
    ).replace(b'"Value":640}]', b'"Value":640}]}'),
    "eta_without_zone": changed('"ETA":null', '"ETA":"2026-11-29 10:00:00"'),
    "unknown_type": changed('"Type":"string"', '"Type":"str"'),
    "number_too_large": changed('"Value":640', '"Value":65537'),
    "negative_unsigned": changed('"Value":640', '"Value":-1'),
    "text_for_a_number": changed('"Value":640', '"Value":"640"'),
    "bad_base64": changed('"Type":"string"', '"Type":"[]byte"'),
    "object_for_a_slice": changed('"Type":"uint16","Value":640', '"Type":"[]int64","Value":{"a":1}'),
    "null_for_a_number": changed('"Value":640', '"Value":null'),
    "one_bad_element": changed('"Type":"uint16","Value":640', '"Type":"[]int64","Value":[1,2,"3",4]'),
    "repeated_field": changed('"Priority":0', '"Priority":0,"Args":[{"Type":"int8","Value":1}]'),
    "wrong_spelling": changed('"RoutingKey"', '"routing_key"'),
    "other_letter_case": changed('"RoutingKey"', '"routingKey"'),
    "no_name": changed('"Name":"resize"', '"Name":""'),
    "null_step": changed('"OnSuccess":null', '"OnSuccess":[null]'),
    "chord_without_group": changed('"ChordCallback":null', '"ChordCallback":{"Name":"sum","Args":null}'),
    "chord_without_count": changed('"GroupUUID":""', '"GroupUUID":"group_1"').replace(
        b'"ChordCallback":null', b'"ChordCallback":{"UUID":"chord_1","Name":"sum"}'
    ),
    "bad_argument_of_a_later_step": changed(
        '"OnSuccess":null',
        '"OnSuccess":[{"UUID":"task_2","Name":"store","Args":[{"Type":"int8","Value":300}],"OnError":[{"Name":"log"}]}]',
    ),
    "bad_expiry": changed('"Headers":{}', '"Headers":{"gearmesh-expires":"tomorrow"}'),
    "list_of_numbers": b"[1, 2, 3]",
    "other_json": b'{"id": 7, "title": "hello"}',
    "plain_text": b"hello, world",
    "celery_message": json.dumps(
        {
            "body": base64.b64encode(b'[[1, 2], {}, {"callbacks": null}]').decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": "shop.add", "id": "1"},
            "properties": {"body_encoding": "base64", "delivery_tag": "x"},
        }
    ).encode(),
    "state_with_unknown_name": changed('"SUCCESS"', '"DONE"', STATE),
    "state_with_wrong_result": changed('"Value":640', '"Value":"640"', STATE),
    "state_with_null_result": changed('{"Type":"uint16","Value":640}', "null", STATE),
    "failure_with_null_result": changed('{"Type":"uint16","Value":640}', "null", STATE).replace(
        b'"SUCCESS"', b'"FAILURE"'
    ),
    "state_with_a_day_off_utc": changed("10:00:00Z", "10:00:00+24:00", STATE),
    "group_with_a_day_off_utc": changed("10:00:00Z", "10:00:00+24:00", GROUP),
    "step_with_a_day_off_utc": changed(
        '"OnSuccess":null', '"OnSuccess":[{"UUID":"task_2","Name":"store","ETA":"2026-11-29T10:00:00+24:00"}]'
    ),
    "repeated_members": changed('"Lock":false', '"Lock":false,"TaskUUIDs":[null,"task_3"]', GROUP),
    "state_cut_off": STATE[:100].encode(),
    "group_without_members": changed('["task_1","task_2"]', "null", GROUP),
    "group_with_a_member_twice": changed('"task_2"', '"task_1"', GROUP),
    "group_with_a_wrong_time": changed("2026-11-29T10:00:00Z", "29.11.2026", GROUP),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_input_is_explained(name: str) -> None:
    text, faults = explain(BROKEN[name])
    check(f"broken/{name}", text)
    harmless = {"other_letter_case"}
    assert faults or name in harmless


def test_the_good_ones_have_nothing_wrong() -> None:
    for text in (GOOD, STATE, GROUP):
        said, faults = explain(text.encode())
        assert faults == 0
        assert "What is wrong\n  Nothing." in said


def test_positions_are_of_the_bytes_that_are_named() -> None:
    data = changed('"RetryCount":2', '"RetryCount":"2"')
    at = data.index(b'"2"')
    assert f"bytes {at} to {at + 2}, RetryCount" in " ".join(explain(data)[0].split())


@pytest.mark.parametrize("name", ["chord_without_group", "chord_without_count"])
def test_a_callback_that_is_never_sent_is_promised_nowhere(name: str) -> None:
    text = " ".join(explain(BROKEN[name])[0].split())
    assert "└─ never, since" in text
    assert "when all" not in text
    assert "sends 'sum'" not in text
    assert "ChordMemberFailed" not in text


@pytest.mark.parametrize("data", [BROKEN["no_name"], b"null", b"{}"], ids=["no_name", "null", "nothing"])
def test_a_message_that_goes_round_for_ever_is_wrong_and_is_not_said_to_run(data: bytes) -> None:
    text, faults = explain(data)
    assert faults
    assert "puts it back over and over" in text.partition("What is wrong")[2]
    assert "runs it if" not in text
    assert "does the same" not in text.partition("What is wrong")[0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("routing_key", "RoutingKey"),
        ("RoutingKeys", "RoutingKey"),
        ("on-success", "OnSuccess"),
        ("retries", ""),
    ],
)
def test_a_misspelt_field_is_named_with_the_one_that_is_meant(name: str, meant: str) -> None:
    text, faults = explain(json.dumps({"UUID": "task_1", "Name": "resize", name: None}).encode())
    assert (f"perhaps {meant} is meant" in text) == bool(meant)
    assert faults == bool(meant)


def test_a_name_beside_the_field_that_it_resembles_is_no_fault() -> None:
    assert explain(changed('"Priority":0', '"Priority":0,"routing_key":"x"'))[1] == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"Name":5}', "json: cannot unmarshal number into Go struct field Signature.Name of type string"),
        (
            b'{"Args":[5]}',
            "json: cannot unmarshal number into Go struct field Signature.Args of type tasks.Arg",
        ),
        (
            b'{"Args":[{"Name":5}]}',
            "json: cannot unmarshal number into Go struct field Arg.Args.Name of type string",
        ),
        (
            b'{"OnSuccess":[{"UUID":5}]}',
            "json: cannot unmarshal number into Go struct field Signature.OnSuccess.UUID of type string",
        ),
        (
            b'{"ChordCallback":{"Args":[{"Type":6}]}}',
            "json: cannot unmarshal number into Go struct field Arg.ChordCallback.Args.Type of type string",
        ),
        (
            b'{"TaskUUID":"a","State":"SUCCESS","Results":{}}',
            "json: cannot unmarshal object into Go struct field TaskState.Results of type []*tasks.TaskResult",
        ),
    ],
    ids=["field", "element", "argument", "step", "callback", "state"],
)
def test_the_field_is_named_as_go_names_it(data: bytes, said: str) -> None:
    assert said in " ".join(explain(data)[0].split())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Priority":0', '"Priority":256,"Priorität":1'),
        ('"Args":[', '"args":5,"Arg":['),
        ('"RetryCount":2,', ""),
    ],
)
def test_a_refused_document_has_no_notes_on_how_go_reads_it(old: str, new: str) -> None:
    noted = explain(changed('"RetryCount":2,', ""))[0]
    assert "\nNotes\n" in noted
    assert "reads a missing field" in noted
    text = explain(changed(old, new).replace(b'"Immutable":false', b'"Immutable":0'))[0]
    assert "Go refuses the whole document" in text
    assert "\nNotes\n" not in text
    assert "reads a missing field" not in text


def test_a_repeated_field_is_judged_by_its_merged_value() -> None:
    twice = changed(
        '"Priority":0', '"Priority":0,"Args":[{"Type":"float64"},{"Value":"640","Type":"string"}]'
    )
    text, faults = explain(twice)
    told = " ".join(text.split())
    assert 'resize(float64 "cat.png", string "640")' in told
    assert '"cat.png" is not a float64. (Args[0].Value)' in told
    assert "Null is not" not in told
    first, last = (twice.index(b'"Args"'), twice.rindex(b'"Args"'))
    assert f"The field Args comes twice, at the bytes {first}, {last}. (bytes {last} to" in told
    assert faults == 2


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ('"Headers":{"a":1,"b":2,"a":3}', "'a' in Headers comes twice"),
        ('"Headers":{"b":[{"a":1,"a":2,"a":3}]}', "'a' in Headers['b'] comes three times"),
    ],
)
def test_a_name_that_comes_twice_in_the_headers_is_named(value: str, where: str) -> None:
    text = " ".join(explain(changed('"Headers":{}', value))[0].split())
    assert where in text
    assert "Go takes the last one." in text


@pytest.mark.parametrize("step", ['"OnSuccess":[null]', '"OnSuccess":[{"UUID":"task_2","Foo":1}]'])
def test_a_message_without_a_name_never_reaches_its_on_success(step: str) -> None:
    nameless = changed('"OnSuccess":null', step).replace(b'"resize"', b'""')
    text = " ".join(explain(nameless)[0].split())
    assert "panics" not in text
    assert "as in a retry" not in text
    assert text.count("puts it back over and over") == 1, "only the message itself"
    named = " ".join(explain(changed('"OnSuccess":null', step))[0].split())
    assert ("panics" in named) == ("null" in step)
    assert ("as in a retry" in named) == ("Foo" in step)


def test_a_cause_is_named_for_a_byte_that_nobody_sees() -> None:
    assert "U+00A0 (NO-BREAK SPACE)" in " ".join(explain(b"\xc2\xa0" + GOOD.encode())[0].split())


def test_an_argument_that_gearmesh_does_not_read_has_the_failure_that_its_worker_stores() -> None:
    text = " ".join(explain(BROKEN["number_too_large"])[0].split())
    assert (
        "It stores FAILURE 'Reflect task args error: strconv.ParseUint: parsing \"65537\": value out of range', does "
        "not retry, and goes on with the next message." in text
    )
