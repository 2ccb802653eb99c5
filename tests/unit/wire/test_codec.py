"""The codec's own laws: each value survives a round trip, bad input raises gearmesh's errors only, at any depth."""

from __future__ import annotations

import copy
import gc
import itertools
import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.shown import shown

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire import codec, gotime
from gearmesh.wire.codec import (
    decode,
    decode_group,
    decode_state,
    decode_states,
    encode,
    encode_group,
    encode_state,
)
from gearmesh.wire.gojson import decode as slow
from gearmesh.wire.gojson.canonical import canonical
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import GroupMeta, TaskResult, TaskState

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.from_regex(rb"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?\Z")
JSON = st.recursive(
    st.one_of(
        NUMBERS,
        TEXT.map(msgspec.json.encode),
        st.sampled_from([b"null", b"true", b"false", b'"\\ud800"', b'"\\u003c\\/"', b'"\xff"']),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: b"[" + b" ,".join(items) + b"]"),
        st.lists(st.tuples(TEXT, inner), max_size=3).map(
            lambda items: b"{" + b",".join(msgspec.json.encode(k) + b":" + v for k, v in items) + b"}"
        ),
    ),
    max_leaves=5,
)
RAW = JSON.map(lambda text: msgspec.Raw(canonical(text)))
TIMES = st.builds(
    gotime.format_ns,
    st.integers(-62135596800 * 10**9, 253402214400 * 10**9),
    st.sampled_from([0, 3600, -12600]),
)
INT64 = st.integers(-(2**63), 2**63 - 1)
ARGS = st.lists(st.builds(Arg, TEXT, TEXT, RAW), max_size=3).map(tuple)


def _signatures(children: st.SearchStrategy[Signature]) -> st.SearchStrategy[Signature]:
    nested = st.none() | st.lists(st.none() | children, max_size=2).map(tuple)
    return st.builds(
        Signature,
        UUID=TEXT,
        Name=TEXT,
        RoutingKey=TEXT,
        ETA=st.none() | TIMES,
        GroupUUID=TEXT,
        GroupTaskCount=INT64,
        Args=st.none() | ARGS,
        Headers=st.none() | st.dictionaries(TEXT, RAW, max_size=3),
        Priority=st.integers(0, 255),
        Immutable=st.booleans(),
        RetryCount=INT64,
        RetryTimeout=INT64,
        OnSuccess=nested,
        OnError=nested,
        ChordCallback=st.none() | children,
        BrokerMessageGroupId=TEXT,
        SQSReceiptHandle=TEXT,
        StopTaskDeletionOnError=st.booleans(),
        IgnoreWhenTaskNotRegistered=st.booleans(),
    )


SIGNATURES = _signatures(st.deferred(lambda: _signatures(st.nothing())))
STATES = st.builds(
    TaskState,
    TaskUUID=TEXT,
    TaskName=TEXT,
    State=TEXT,
    Results=st.none() | st.lists(st.builds(TaskResult, TEXT, RAW), max_size=3).map(tuple),
    Error=TEXT,
    CreatedAt=TIMES,
    TTL=INT64,
)
GROUPS = st.builds(
    GroupMeta,
    GroupUUID=TEXT,
    TaskUUIDs=st.lists(TEXT, max_size=3).map(tuple),
    ChordTriggered=st.booleans(),
    Lock=st.booleans(),
    CreatedAt=TIMES,
    TTL=INT64,
)


@given(SIGNATURES)
def test_a_signature_comes_back(sig: Signature) -> None:
    data = encode(sig)
    assert decode(data) == sig
    assert slow.decode_signature(data) == sig
    assert encode(decode(data)) == data
    assert hash(decode(data)) == hash(sig)


@given(STATES)
def test_a_state_comes_back(state: TaskState) -> None:
    data = encode_state(state)
    assert decode_state(data) == state
    assert slow.decode_state(data) == state


def _each(texts: list[bytes]) -> list[TaskState] | str:
    try:
        return [decode_state(text) for text in texts]
    except RemoteProtocolError as exc:
        return str(exc)


def _together(texts: list[bytes]) -> list[TaskState] | str:
    try:
        return decode_states(texts)
    except RemoteProtocolError as exc:
        return str(exc)


@given(
    st.lists(STATES.map(encode_state) | st.binary(max_size=20) | st.sampled_from([b"{}", b"[]", b""])),
    st.data(),
)
def test_states_are_read_together_as_one_by_one(texts: list[bytes], data: st.DataObject) -> None:
    assert _together(texts) == _each(texts)
    # The same bytes, cut elsewhere.
    pieces = b",".join(texts).split(b",")
    cuts = data.draw(st.sets(st.integers(1, max(1, len(pieces) - 1)), max_size=len(texts)))
    moved = [b",".join(pieces[a:b]) for a, b in itertools.pairwise([0, *sorted(cuts), len(pieces)])]
    assert _together(moved) == _each(moved)


def test_large_states_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result refers to the text that it was read from: one that is kept would keep those of the others."""
    monkeypatch.setattr(codec, "_read_together", None)
    large = TaskResult("string", msgspec.Raw(b'"%b"' % (b"x" * 50_000)))
    states = [TaskState(TaskUUID=f"task_{n}", Results=(large,)) for n in range(3)]
    assert decode_states([encode_state(state) for state in states]) == states


@pytest.mark.parametrize("results", [None, (), (TaskResult("int64", msgspec.Raw(b"1")),)])
def test_ordinary_states_are_read_together(
    results: tuple[TaskResult, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "decode_state", None)
    states = [TaskState(TaskUUID=f"task_{n}", TaskName="add", Results=results) for n in range(3)]
    assert decode_states([encode_state(state) for state in states]) == states


@given(GROUPS)
def test_a_group_comes_back(meta: GroupMeta) -> None:
    data = encode_group(meta)
    assert decode_group(data) == meta
    assert slow.decode_group(data) == meta


@given(st.binary(max_size=60) | JSON)
@example(b'{"Headers":{"a":1},"Headers":null,"x":[')
@example(b'{"\xff":1}')
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    pairs: Any = ((decode, encode), (decode_state, encode_state), (decode_group, encode_group))
    for read, write in pairs:
        try:
            value = read(data)
        except RemoteProtocolError:
            continue
        out = write(value)
        assert read(out) == value
        assert write(read(out)) == out


@given(SIGNATURES, st.data())
@settings(max_examples=200)
def test_damaged_bytes_are_read_as_without_the_fast_path(sig: Signature, data: st.DataObject) -> None:
    text = bytearray(encode(sig))
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 8)))
    text[at:until] = data.draw(
        st.binary(max_size=3) | st.sampled_from([b" ", b"\\u0041", b',"UUID":"x"', b',"args":null', b"1.0"])
    )
    damaged = bytes(text)
    try:
        expected = slow.decode_signature(damaged)
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            decode(damaged)
    else:
        assert decode(damaged) == expected


@given(JSON)
def test_canonical_text_is_a_fixpoint(text: bytes) -> None:
    once = canonical(text)
    assert canonical(once) == once
    assert b" " not in once or b'"' in once


def test_go_s_own_form_never_takes_the_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Signature(
        UUID="task_2",
        Name="a<b",
        Headers={"b": msgspec.Raw(b'"\\u003c"'), "a": msgspec.Raw(b"[1,2.50]")},
        Args=(Arg("", "string", msgspec.Raw('"é\\n\\"x\\""'.encode())),),
        ETA="2026-11-30T10:00:00.5+01:00",
    )
    sig = Signature(UUID="task_1", Name="add", Args=(), Headers={}, OnSuccess=(step,), ChordCallback=step)
    chain = sig
    for _ in range(300):
        chain = sig.evolve(OnSuccess=(chain,), ChordCallback=None)
    wide = sig.evolve(OnSuccess=(sig,) * 300)
    result = TaskResult("[]string", msgspec.Raw(b'["\\u0026"]'))
    state = TaskState(TaskUUID="t", State="SUCCESS", Results=(result,))
    escaped = [encode(one).replace(b"a\\u003cb", b"a-b") for one in (sig, chain.evolve(ETA=None), wide)]
    stored = encode_state(state)

    def never(data: bytes) -> Any:
        raise AssertionError(data[:100])

    for name in ("decode_signature", "decode_state", "decode_group"):
        monkeypatch.setattr(slow, name, never)
    for data in escaped:
        assert encode(decode(data)) == data
    assert decode_state(stored) == state


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"Value":1', b'"Value":{"b":1,"a":2}'),
        (b'"Value":1', b'"Value":[1, 2]'),
        (b'"Headers":{}', b'"Headers":{"h":{"b":1,"a":2}}'),
        (b'"Value":1', b'"Value":"\\u0061"'),
        (b'"Value":1', b'"Value":"\xff"'),
        (b'"Value":1', b'"Value":"<"'),
        (b'"ETA":null', b'"ETA":"2026-11-21T12:00:00+00:00"'),
    ],
)
@pytest.mark.parametrize("headers", [{}, None])
@pytest.mark.parametrize("nest", ["", "OnSuccess", "OnError", "ChordCallback"])
def test_every_part_is_looked_at_wherever_it_is(
    old: bytes, new: bytes, headers: dict[str, msgspec.Raw] | None, nest: str
) -> None:
    sig = Signature(Args=(Arg("", "t", msgspec.Raw(b"1")),), Headers=headers)
    if nest:
        sig = sig.evolve(**{nest: sig if nest == "ChordCallback" else (sig,)})
        bare = Signature() if nest == "ChordCallback" else (Signature(),)
        sigs = [sig, sig.evolve(Headers={}), sig.evolve(Args=None), sig.evolve(**{nest: bare})]
    else:
        sigs = [sig]
    for one in sigs:
        for data in {encode(one).replace(old, new), encode(one).replace(old, new, 1)}:
            before, _, after = encode(one).rpartition(old)
            for damaged in (data, before + new + after if before else data):
                assert decode(damaged) == slow.decode_signature(damaged)
                assert decode(encode(decode(damaged))) == decode(damaged)


def test_headers_are_written_sorted_by_their_bytes() -> None:
    one = msgspec.Raw(b"1")
    assert b'"Headers":{"":1,"\\u003c":1,"A":1,"a":1,"\xc3\xa9":1}' in encode(
        Signature(Headers={"é": one, "a": one, "A": one, "<": one, "": one})
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"Priority": 256},
        {"Priority": -1},
        {"Priority": 1.5},
        {"GroupTaskCount": 2**63},
        {"RetryCount": "3"},
        {"RetryCount": True},
        {"Name": 3},
        {"Name": None},
        {"UUID": "\ud800"},
        {"Immutable": 1},
        {"ETA": "tomorrow"},
        {"ETA": "2026-11-21T12:00:00+00:00"},
        {"ETA": 5},
        {"Args": ("x",)},
        {"Args": (Arg("", "int64", msgspec.Raw(b"1.")),)},
        {"Headers": {"a": object()}},
        {"Headers": {5: msgspec.Raw(b"1")}},
        {"OnSuccess": (Signature(Name="x", Priority=1000),)},
        {"OnError": (Signature(ETA="never"),)},
        {"ChordCallback": {}},
    ],
    ids=shown,
)
def test_encode_refuses_signatures_that_go_could_not_read(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode(Signature(Name="add").evolve(**changes))
    deep = Signature(Name="add").evolve(**changes)
    for _ in range(150):
        deep = Signature(OnSuccess=(deep,))
    with pytest.raises(LocalProtocolError):
        encode(deep)


def test_wrong_states_and_groups_are_not_encoded() -> None:
    with pytest.raises(LocalProtocolError, match="CreatedAt"):
        encode_state(TaskState(CreatedAt=""))
    with pytest.raises(LocalProtocolError):
        encode_state(TaskState(TaskUUID=5))  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        encode_group(GroupMeta(TaskUUIDs=("a", None)))  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError, match="null"):
        decode_state(b'{"Results":[null]}')


def test_an_error_text_that_is_not_unicode_is_stored_all_the_same() -> None:
    assert decode_state(encode_state(TaskState(Error="a\udcffb<é"))).Error == "a\ufffdb<é"


def test_null_uuids_are_no_uuids() -> None:
    assert decode_group(b'{"TaskUUIDs":null}') == GroupMeta()
    assert decode_group(b'{"TaskUUIDs":["a",null],"taskuuids":[null]}').TaskUUIDs == ("a",)


def test_a_time_that_go_cannot_write_may_be_replaced() -> None:
    # Go reads an offset of 24 hours, and fails only when it writes it: the last one of a repeated field counts.
    written = "2026-11-29T10:00:00Z"
    late, good = '"2026-11-29T10:00:00+24:00"', f'"{written}"'
    sig = decode(f'{{"ETA":{late},"ETA":{good}}}'.encode())
    nothing = decode(f'{{"ETA":{late},"ETA":null}}'.encode())
    assert [each.ETA for each in (sig, nothing)] == [written, None]
    meta = decode_group(f'{{"CreatedAt":{late},"createdat":{good}}}'.encode())
    assert meta.CreatedAt == written
    for read, text in ((decode, f'{{"ETA":{good},"ETA":{late}}}'), (decode_state, f'{{"CreatedAt":{late}}}')):
        with pytest.raises(RemoteProtocolError, match="offset of 86400 s"):
            read(text.encode())


def test_go_s_slices_remember_elements_beyond_their_end() -> None:
    sig = decode(b'{"Args":[{"Name":"a"},{"Name":"b"}],"Args":[{}],"Args":[{},{},{"Type":"t"}]}')
    assert [arg.Name for arg in sig.Args or ()] == ["a", "b", ""]
    assert [arg.Name for arg in decode(b'{"Args":[{"Name":"a"}],"Args":[],"Args":[{}]}').Args or ()] == [""]


def test_equality_looks_at_everything() -> None:
    sig = Signature(UUID="a", OnSuccess=(Signature(Name="x", OnError=(None,)),), ChordCallback=Signature())
    same = Signature(UUID="a", OnSuccess=(Signature(Name="x", OnError=(None,)),), ChordCallback=Signature())
    assert sig == same
    assert sig == copy.copy(sig)
    for other in (
        sig.evolve(UUID="b"),
        sig.evolve(OnSuccess=()),
        sig.evolve(OnSuccess=None),
        sig.evolve(OnSuccess=(None,)),
        sig.evolve(OnSuccess=(Signature(Name="y", OnError=(None,)),)),
        sig.evolve(OnSuccess=(Signature(Name="x", OnError=(Signature(),)),)),
        sig.evolve(ChordCallback=None),
        sig.evolve(ChordCallback=Signature(Immutable=True)),
        "something else",
    ):
        assert sig != other
    for field in msgspec.structs.fields(Signature):
        changed = {"Args": (), "Headers": {}, "OnSuccess": (), "OnError": (), "ChordCallback": Signature()}
        value = changed.get(field.name, True if field.default is False else 7 if field.default == 0 else "x")
        assert Signature() != Signature().evolve(**{field.name: value}), field.name


def test_repr_is_short() -> None:
    child = Signature(Name="secret", Args=(Arg("", "string", msgspec.Raw(b'"x"')),) * 100)
    headers = {"h": msgspec.Raw(b"1")}
    sig = Signature(
        UUID="u", Name="n", Args=child.Args, OnSuccess=(child,) * 3, ChordCallback=child, Headers=headers
    )
    assert repr(sig) == (
        "Signature(Name='n', UUID='u', Args=<100>, Headers=['h'], OnSuccess=<3>, ChordCallback=<secret>)"
    )


DEEP = """
import gc, sys, threading
sys.path[:0] = {path!r}
from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature

def make(levels, how):
    sig = Signature(Name="last")
    for number in range(levels):
        if how == "ChordCallback":
            sig = Signature(UUID=str(number), ChordCallback=sig)
        else:
            sig = Signature(UUID=str(number), **{{how: (sig,)}})
    return sig

def work():
    for how, levels in (("OnSuccess", 4000), ("OnError", 1500), ("ChordCallback", 1500)):
        sig = make(levels, how)
        data = encode(sig)
        again = decode(data)
        assert again == sig and encode(again) == data
        assert again != make(levels - 1, how)
        assert hash(again) == hash(sig)
        assert len(repr(sig)) < 200
        assert sig.evolve(Name="other") != sig
        assert sum(1 for _ in sig.walk()) == levels + 1
        try:
            decode(b"[" + data + b"]")
        except RemoteProtocolError:
            pass
        del sig, again
        gc.collect()
        try:
            encode(make(10001 if how == "ChordCallback" else 5000, how))
        except LocalProtocolError as error:
            assert "too deep" in str(error)
        else:
            raise AssertionError(how)
    raw = b"[" * 9996 + b"]" * 9996
    for text in (raw, b"[" * 100000, b'{{"a":' * 100000, b'{{"Args":' * 5000 + b"[" * 20000):
        for data in (text, b'{{"Args":[{{"Value":' + text + b'}}]}}', b'{{"Headers":{{"a":' + text + b'}}}}'):
            try:
                sig = decode(data)
            except RemoteProtocolError:
                assert text is not raw or data is text
            else:
                assert text is raw and decode(encode(sig)) == sig
    print("done", flush=True)

work()
if {limit}:
    sys.setrecursionlimit({limit})
threading.stack_size({stack})
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(("stack", "limit"), [(256 * 1024, 0), (128 * 1024, 100_000)])
def test_depth_never_hurts(stack: int, limit: int) -> None:
    """It runs in a process of its own, since a failure here ends the interpreter."""
    if sys.version_info[:2] == (3, 13):
        # There the interpreter itself frees nested tuples by recursion, thousands of calls deep,
        # and a smaller stack ends it even without any of our types.
        stack = 1024 * 1024
    script = DEEP.format(path=sys.path, stack=stack, limit=limit)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\ndone\n", "")


def test_deep_signatures_are_freed() -> None:
    gc.collect()
    before = len(gc.get_objects())
    sig = decode(b'{"OnSuccess":[' * 3000 + b"{}" + b"]}" * 3000)
    assert len(gc.get_objects()) > before + 3000
    del sig
    gc.collect()
    assert len(gc.get_objects()) < before + 1000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a":tru}', "invalid character '}' in literal true (expecting 'e') (byte 8)"),
        (b'{"a":nul', "unexpected EOF"),
        (b'{"a":-}', "invalid character '}' in numeric literal (byte 6)"),
        (b'{"a":1.}', "invalid character '}' after decimal point in numeric literal (byte 7)"),
        (b'{"a":1e}', "invalid character '}' in exponent of numeric literal (byte 7)"),
        (b'{"a":1.5E+}', "invalid character '}' in exponent of numeric literal (byte 10)"),
        (b'{"a":1.5.}', "invalid character '.' after object key:value pair (byte 8)"),
        (b'{"a":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape (byte 10)"),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string (byte 1)"),
        (b'{"a":\x07}', "invalid character '\\a' looking for beginning of value (byte 5)"),
        (b'{"a":\x7f}', "invalid character '\\x7f' looking for beginning of value (byte 5)"),
        (b'{"a":\xa0}', "invalid character '\\u00a0' looking for beginning of value (byte 5)"),
        (b'{"a":\xff}', "invalid character '\xff' looking for beginning of value (byte 5)"),
        (b'{"a":"\n"}', "invalid character '\\n' in string literal (byte 6)"),
        (b'{"a":\\', "invalid character '\\\\' looking for beginning of value (byte 5)"),
    ],
)
def test_text_that_is_no_json_is_refused_in_go_s_words(text: bytes, said: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(text)
    assert str(caught.value) == said


def test_go_reads_a_time_with_its_escapes() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(rb'{"ETA":"2026-11-21T12\u003a00:00Z"}')
    assert str(caught.value) == (
        r'parsing time "2026-11-21T12\\u003a00:00Z" as "2006-01-02T15:04:05Z07:00": '
        r'cannot parse "\\u003a00:00Z" as ":"'
    )


def test_a_field_of_a_wrong_type_is_named_with_all_above_it() -> None:
    said = "Go struct field Arg.OnError.ChordCallback.Args.Type of type string"
    with pytest.raises(RemoteProtocolError, match=re.escape(said)):
        decode(b'{"OnError":[{"ChordCallback":{"Args":[{"Type":5}]}}]}')
    with pytest.raises(RemoteProtocolError, match="…") as caught:
        decode(b'{"OnError":[' * 3000 + b'{"UUID":5}' + b"]}" * 3000)
    assert len(str(caught.value)) < 250
