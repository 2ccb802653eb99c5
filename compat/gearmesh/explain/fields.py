"""Compares a document with Go's struct, field by field, as Go's decoder does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from gearmesh.errors import RemoteProtocolError
from gearmesh.explain.findings import Finding
from gearmesh.explain.spans import FieldSpan, Span
from gearmesh.wire.gojson.fill import fill
from gearmesh.wire.gojson.read import Pairs
from gearmesh.wire.gojson.shape import Anything, ListOf, Map, Shape, StructOf
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["MIXED", "check_fields", "field_of", "short_path"]

#: Findings of one document that are told; a broken dump could have millions.
MAX_FINDINGS: Final = 50
#: Characters of a field's path.
MAX_PATH_CHARS: Final = 120
#: The outcome for a field that comes twice.
MIXED: Final = "the result may be a mix of both"
#: Characters of a name that is compared with Go's names.
MAX_NAME_CHARS: Final = 40
#: From 0 to 1: how much alike a name and Go's name have to be for "perhaps … is meant".
NAME_LIKENESS: Final = 0.85
#: Letters outside of ASCII that Go takes for an s and a k in a field's name.
_FOLD: Final = {0x17F: "s", 0x212A: "k"}
#: Fields that Machinery v1.6 does not write.
_SINCE_V1_7: Final = {"Priority", "StopTaskDeletionOnError", "IgnoreWhenTaskNotRegistered"}

#: All fields of the three documents, in the order in which they are written.
_ORDER: Final = tuple(
    dict.fromkeys((*TaskState.__struct_fields__, *Signature.__struct_fields__, *GroupMeta.__struct_fields__))
)


class _Level(NamedTuple):
    """A struct that is read: its span, its shape, and its path with a dot behind."""

    span: Span
    shape: StructOf
    path: str


def check_fields(root: Span, shape: StructOf) -> tuple[list[Finding], bool]:
    """Find wrong types, and unknown, repeated, oddly spelt and missing fields.

    Returns the findings, and True if Go refuses the document.
    """
    findings: list[Finding] = []
    refused = False
    if root.entries is None:
        wrong = _mismatch(root, shape, None)
        return ([wrong], True) if wrong else ([], False)
    todo = [_Level(root, shape, "")]
    while todo:
        level = todo.pop()
        nested: list[_Level] = []
        for finding in _check_struct(level, nested):
            refused = refused or finding.text.startswith("Go cannot read")
            if len(findings) < MAX_FINDINGS:
                findings.append(finding)
        todo += reversed(nested)
    return findings, refused


def short_path(path: str) -> str:
    """A path without its beginning, if it is long: a chain may be nested thousands deep."""
    return path if len(path) <= MAX_PATH_CHARS else "…" + path[-MAX_PATH_CHARS // 2 :]


def field_of(shape: StructOf, name: str) -> tuple[str, Shape] | None:
    """Go's field for a name in a document, and its shape; None: Go skips the name."""
    folded = name if name.isascii() else name.translate(_FOLD)
    return shape.fields.get(folded.upper()) if folded.isascii() else None


def _check_struct(level: _Level, nested: list[_Level]) -> Iterator[Finding]:
    seen: dict[str, FieldSpan] = {}
    for entry in level.span.entries or ():
        found = field_of(level.shape, entry.name)
        where = level.path + entry.name
        if found is None:
            yield _unknown(entry, where, _meant(level, entry.name))
            continue
        name, shape = found
        where = level.path + name
        if entry.name != name:
            yield Finding(
                level="note",
                text=f"the field {name} is spelt {entry.name!r}",
                go="reads it all the same, and spells it properly when it sends this on",
                python="does the same",
                start=entry.at,
                end=entry.value.end,
                where=where,
            )
        if name in seen:
            yield Finding(
                level="fault",
                text=f"the field {name} comes twice, first at byte {seen[name].at}",
                go=(
                    "takes the last one if it is a number or a text; an object or a list it reads into the first one, "
                    f"so {MIXED}"
                ),
                python="reads it as Go does; other programs may not",
                start=entry.at,
                end=entry.value.end,
                where=where,
            )
        seen[name] = entry
        yield from _check_value(entry.value, shape, where, nested, name)
    missing = [name for name in _ORDER if _has(level.shape, name) and name not in seen]
    if missing and seen and level.shape.go not in ("Arg", "TaskResult"):
        yield Finding(
            level="note",
            text=_missing(missing, list(seen), level.path.rstrip(".") or "the document"),
            go="reads a missing field as zero, empty or null" + _without(missing, level),
            start=level.span.start,
            end=level.span.end,
            where=level.path.rstrip("."),
        )


def _unknown(entry: FieldSpan, where: str, meant: str) -> Finding:
    """The finding about a name that Go skips. ``meant``: the missing field that it seems to stand for; ``""``: none."""
    text = f"{entry.name!r} is not a field of Machinery's"
    return Finding(
        level="fault" if meant else "note",
        text=f"{text}; perhaps {meant} is meant" if meant else text,
        go=(f"skips it, and takes {meant} for missing" if meant else "skips it")
        + "; it is gone when Go sends this on, as in a retry",
        python="skips it, too",
        start=entry.at,
        end=entry.value.end,
        where=where,
    )


def _meant(level: _Level, name: str) -> str:
    """The field that a name seems to stand for, as ``RoutingKey`` for ``routing_key``, if the document lacks it."""
    if len(name) > MAX_NAME_CHARS:
        return ""
    plain = re.sub("[^a-z]", "", name.lower())
    fields = {key.lower(): field for key, (field, _) in level.shape.fields.items()}
    close = difflib.get_close_matches(plain, fields, n=1, cutoff=NAME_LIKENESS)
    return fields[close[0]] if close and level.span.find(fields[close[0]]) is None else ""


def _has(shape: StructOf, name: str) -> bool:
    field = shape.fields.get(name.upper())
    return field is not None and field[0] == name


def _without(missing: list[str], level: _Level) -> str:
    """The consequence of the fields that a later step lacks."""
    if level.shape.go != "Signature" or not level.path or "RoutingKey" not in missing:
        return ""
    retries = ", without retries" if "RetryCount" in missing else ""
    return f", so this step goes to the default queue of the worker that sends it{retries}"


def _missing(missing: list[str], seen: list[str], subject: str) -> str:
    """The sentence about missing fields, by the shorter list. ``subject``: the object that lacks them."""
    if set(missing) == _SINCE_V1_7:
        return f"{', '.join(missing)} are missing in {subject}; Machinery v1.6 and older do not write them"
    if len(missing) == 1:
        return f"the field {missing[0]} is missing in {subject}"
    if not seen:
        return f"all fields are missing in {subject}"
    if len(missing) > len(seen) + 1:
        return f"{subject} has only {', '.join(seen)}; all other fields are missing"
    return f"these fields are missing in {subject}: {', '.join(missing)}"


def _check_value(value: Span, shape: Shape, where: str, nested: list[_Level], name: str) -> Iterator[Finding]:
    wrong = _mismatch(value, shape, name, where)
    if wrong is not None:
        yield wrong
    elif isinstance(shape, StructOf):
        if value.entries is not None:
            nested.append(_Level(value, shape, short_path(where) + "."))
    elif isinstance(shape, ListOf):
        for index, item in enumerate(value.items or ()):
            at = f"{where}[{index}]"
            if isinstance(shape.element, StructOf) and item.entries is not None:
                nested.append(_Level(item, shape.element, short_path(at) + "."))
            elif (wrong := _mismatch(item, shape.element, name, at)) is not None:
                yield wrong


def _mismatch(value: Span, shape: Shape, name: str | None, where: str = "") -> Finding | None:
    """The finding for a value that Go refuses for its field; None: Go takes it."""
    if isinstance(shape, Anything) or (isinstance(shape, Map) and value.entries is not None):
        return None
    holder = StructOf("Signature", True, {"X": ("X", shape)})
    try:
        written = fill(Pairs([("X", value.node)]), holder).get("X")
        if isinstance(written, RemoteProtocolError):
            raise written
    except RemoteProtocolError as exc:
        said = str(exc)
        go = said.replace("Go struct field Signature.X", f"Go struct field {name}" if name else "Go value")
        return Finding(
            level="fault",
            text=f"Go cannot read {_kind(value)} as {_expected(shape)}"
            + (f", which {name} is" if name else "")
            + _written_with_a_point(value, shape),
            start=value.start,
            end=value.end,
            where=where,
            go=f"refuses the whole document: {go}",
            python="refuses the whole document, too",
        )
    return None


def _written_with_a_point(value: Span, shape: Shape) -> str:
    """Say what is wrong with ``2.0`` and ``1e2``, which are whole numbers to the eye."""
    text = getattr(value.scalar, "text", "")
    whole = _expected(shape).startswith("a whole number")
    return ": it has a point or an exponent" if whole and set(text) & set(".eE") else ""


def _kind(value: Span) -> str:
    if value.entries is not None:
        return "an object"
    if value.items is not None:
        return "a list"
    if value.scalar is None:
        return "null"
    if isinstance(value.scalar, bool):
        return "true or false"
    if isinstance(value.scalar, str):
        return "this text"
    return "this number"


def _expected(shape: Shape) -> str:
    if isinstance(shape, StructOf):
        return {"Signature": "a signature", "Arg": "an argument", "TaskResult": "a result"}.get(
            shape.go, f"a {shape.go}"
        )
    if isinstance(shape, ListOf):
        return "a list"
    if isinstance(shape, Map):
        return "an object"
    go: str = getattr(shape, "go", "")
    names = {
        "string": "a text",
        "bool": "true or false",
        "uint8": "a whole number from 0 to 255",
        "": "a time such as 2026-01-02T15:04:05Z",
    }
    return names.get(go, "a whole number of 64 bits")
