"""Compares a document with Go's struct, field by field, as Go's decoder does."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from gearmesh.errors import RemoteProtocolError
from gearmesh.explain.findings import Finding
from gearmesh.explain.spans import FieldSpan, Span
from gearmesh.wire.gojson.fill import fill
from gearmesh.wire.gojson.read import Pairs
from gearmesh.wire.gojson.shape import Anything, ListOf, Map, Scalar, Shape, StructOf, Time
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["REPEATED", "check_fields", "short_path"]

#: Findings of one document that are reported; a broken dump could have millions.
MAX_FINDINGS: Final = 50
#: Characters of a field's path.
MAX_PATH_CHARS: Final = 120
#: Part of a finding's text about a repeated field; ``text`` recognizes such a finding by it.
REPEATED: Final = " comes "
#: Characters of a name that is compared with Go's names.
MAX_NAME_CHARS: Final = 40
#: From 0 to 1: how much alike a name and Go's name have to be for "perhaps … is meant".
NAME_LIKENESS: Final = 0.85
#: Places of a repeated name that are listed.
MAX_PLACES: Final = 5
#: Letters outside of ASCII that Go takes for an s and a k in a field's name.
_FOLD: Final = {0x17F: "s", 0x212A: "k"}
#: Fields that Machinery v1.6 does not write.
_SINCE_V1_7: Final = {"Priority", "StopTaskDeletionOnError", "IgnoreWhenTaskNotRegistered"}

#: All fields of the three documents, in the order in which they are written.
_ORDER: Final = tuple(
    dict.fromkeys((*TaskState.__struct_fields__, *Signature.__struct_fields__, *GroupMeta.__struct_fields__))
)


class _Level(NamedTuple):
    """One struct of the document: its span, its shape, and its path, which ends in a dot or is empty.

    ``repeated``: Go merges it with another value of the same field. ``sent_on``: a worker may resend it, as in a retry.
    """

    span: Span
    shape: StructOf
    path: str
    repeated: bool
    sent_on: bool

    def below(self, span: Span, shape: StructOf, path: str, repeated: bool) -> _Level:
        return _Level(span, shape, short_path(path) + ".", self.repeated or repeated, self.sent_on)


def check_fields(root: Span, shape: StructOf) -> tuple[list[Finding], bool]:
    """Find wrong types, and unknown, repeated, oddly spelt and missing fields.

    Returns the findings, and True if Go refuses the document. The findings then have no notes on how Go reads it.
    """
    findings: list[Finding] = []
    refused = False
    if root.entries is None:
        wrong = _mismatch(root, shape, shape.go, "")
        return ([wrong], True) if wrong else ([], False)
    name = root.find("Name")
    todo = [_Level(root, shape, "", False, name is not None and bool(name.scalar))]
    while todo:
        level = todo.pop()
        nested: list[_Level] = []
        for finding in _check_struct(level, nested):
            refused = refused or finding.text.startswith("Go cannot read")
            if len(findings) < MAX_FINDINGS:
                findings.append(finding)
        todo += reversed(nested)
    if refused:
        findings = [finding for finding in findings if finding.level == "fault"]
    return findings, refused


def short_path(path: str) -> str:
    """Cut the beginning of a long path: a chain may be nested thousands of levels deep."""
    return path if len(path) <= MAX_PATH_CHARS else "…" + path[-MAX_PATH_CHARS // 2 :]


def _field_of(shape: StructOf, name: str) -> tuple[str, Shape] | None:
    """Return Go's field for a name in a document, and its shape; None if Go skips the name."""
    folded = name if name.isascii() else name.translate(_FOLD)
    return shape.fields.get(folded.upper()) if folded.isascii() else None


def _check_struct(level: _Level, nested: list[_Level]) -> Iterator[Finding]:
    seen: dict[str, list[FieldSpan]] = defaultdict(list)
    for entry in level.span.entries or ():
        found = _field_of(level.shape, entry.name)
        if found is None:
            yield _unknown(entry, level)
        else:
            seen[found[0]].append(entry)
    for entry in level.span.entries or ():
        found = _field_of(level.shape, entry.name)
        if found is None:
            continue
        name, shape = found
        where = level.path + name
        if entry.name != name:
            yield Finding(
                level="note",
                text=f"the field {name} is spelt {_spelt(entry.name)}",
                go="reads it all the same",
                python="does the same",
                start=entry.at,
                end=entry.value.end,
                where=where,
            )
        if len(seen[name]) > 1 and entry is seen[name][-1]:
            go = _of_several(shape, name, [one.value for one in seen[name]])
            yield _repeated(f"the field {name}", seen[name], go, where)
        yield from _check_value(level, entry.value, name, shape, nested, len(seen[name]) > 1)
    missing = [name for name in _ORDER if _has(level.shape, name) and name not in seen]
    if missing and seen and not level.repeated and level.shape.go not in ("Arg", "TaskResult"):
        yield Finding(
            level="note",
            text=_missing(missing, list(seen), level.path.rstrip(".") or "the document"),
            go="reads a missing field as zero, empty or null",
            start=level.span.start,
            end=level.span.end,
            where=level.path.rstrip("."),
        )


def _repeated(subject: str, entries: list[FieldSpan], go: str, where: str) -> Finding:
    """Make the finding about a name that an object has more than once."""
    times = {2: "twice", 3: "three times"}.get(len(entries), f"{len(entries)} times")
    places = ", ".join(str(entry.at) for entry in entries[:MAX_PLACES])
    more = ", …" if len(entries) > MAX_PLACES else ""
    return Finding(
        level="fault",
        text=f"{subject}{REPEATED}{times}, at the bytes {places}{more}",
        go=go,
        python="reads it as Go does; other programs may not",
        start=entries[-1].at,
        end=entries[-1].value.end,
        where=where,
    )


def _of_several(shape: Shape, name: str, values: list[Span]) -> str:
    """Describe the value that Go reads if a field of this shape comes more than once.

    Args:
        shape: the field's type.
        name: its name.
        values: all its values. The text mentions null only if one of them is null.
    """
    if isinstance(shape, Scalar) or (isinstance(shape, Time) and not shape.pointer):
        return "takes the last one that is not null"
    if isinstance(shape, Anything | Time):
        return "takes the last one"
    removed = f". A null in place of {name} removes the earlier one" if any(map(_is_null, values)) else ""
    if isinstance(shape, StructOf):
        kept = "A field that the later one lacks keeps its value"
        return f"writes each later {name} over the earlier one. {kept}{removed}"
    if isinstance(shape, Map):
        return f"adds the names of all {name}, and takes the last value of each name{removed}"
    null_elements = any(_is_null(item) for value in values for item in value.items or ())
    kept = ". A null in place of an element leaves the earlier element as it was" if null_elements else ""
    if not isinstance(shape.element, StructOf):
        return f"takes the last one{removed}{kept}"
    return (
        f"takes as many elements as the last {name} has, and writes them over the earlier ones. A field that an "
        f"element of the last {name} lacks keeps its earlier value{removed}{'' if shape.element.pointer else kept}"
    )


def _is_null(value: Span) -> bool:
    return value.entries is None and value.items is None and value.scalar is None


def _unknown(entry: FieldSpan, level: _Level) -> Finding:
    """Make the finding about a name that Go skips."""
    meant = _meant(level, entry.name)  # the missing field that it seems to stand for
    text = f"{_spelt(entry.name)} is not a field of Machinery's"
    gone = ". If Go sends the message on, as in a retry, this field is gone" if level.sent_on else ""
    return Finding(
        level="fault" if meant else "note",
        text=f"{text}; perhaps {meant} is meant" if meant else text,
        go=(f"skips it, and takes {meant} for missing" if meant else "skips it") + gone,
        python="skips it, too",
        start=entry.at,
        end=entry.value.end,
        where=level.path + entry.name,
    )


def _spelt(name: str) -> str:
    """Return the name in quotes, and list its letters that only look like an s or a k."""
    odd = [f"U+{ord(char):04X} {unicodedata.name(char)}" for char in name if ord(char) in _FOLD]
    return f"{name!r} (with {', '.join(odd)})" if odd else repr(name)


def _meant(level: _Level, name: str) -> str:
    """Guess the missing field that a name stands for, as ``RoutingKey`` for ``routing_key``; ``""``: none is close."""
    if len(name) > MAX_NAME_CHARS:
        return ""
    plain = re.sub("[^a-z]", "", name.lower())
    fields = {key.lower(): field for key, (field, _) in level.shape.fields.items()}
    close = difflib.get_close_matches(plain, fields, n=1, cutoff=NAME_LIKENESS)
    return fields[close[0]] if close and level.span.find(fields[close[0]]) is None else ""


def _has(shape: StructOf, name: str) -> bool:
    field = shape.fields.get(name.upper())
    return field is not None and field[0] == name


def _missing(missing: list[str], seen: list[str], subject: str) -> str:
    """List the missing fields, or the others if those are fewer. ``subject``: the object that lacks them."""
    if set(missing) == _SINCE_V1_7:
        return f"{', '.join(missing)} are missing in {subject}; Machinery v1.6 and older do not write them"
    if len(missing) == 1:
        return f"the field {missing[0]} is missing in {subject}"
    if not seen:
        return f"all fields are missing in {subject}"
    if len(missing) > len(seen) + 1:
        return f"{subject} has only {', '.join(seen)}; all other fields are missing"
    return f"these fields are missing in {subject}: {', '.join(missing)}"


def _check_value(
    level: _Level, value: Span, name: str, shape: Shape, nested: list[_Level], repeated: bool
) -> Iterator[Finding]:
    """Find the faults of one field's value, and add the structs in it to ``nested``."""
    where = level.path + name
    wrong = _mismatch(value, shape, level.shape.go, where)
    if wrong is not None:
        yield wrong
    elif isinstance(shape, StructOf):
        if value.entries is not None:
            nested.append(level.below(value, shape, where, repeated))
    elif isinstance(shape, ListOf):
        for index, item in enumerate(value.items or ()):
            at = f"{where}[{index}]"
            if isinstance(shape.element, StructOf) and item.entries is not None:
                nested.append(level.below(item, shape.element, at, repeated))
            elif (wrong := _mismatch(item, shape.element, level.shape.go, at)) is not None:
                yield wrong
    elif isinstance(shape, Anything | Map):
        yield from _repeated_names(value, where)


def _repeated_names(value: Span, where: str) -> Iterator[Finding]:
    """Find the names that come more than once in an object that Go reads without a struct: headers, a value."""
    todo = [(value, where)]
    while todo:
        one, path = todo.pop()
        names: dict[str, list[FieldSpan]] = defaultdict(list)
        for entry in one.entries or ():
            names[entry.name].append(entry)
            # The path ends at the first name: in a deeply nested document, full paths would fill the memory.
            todo.append((entry.value, f"{where}[{entry.name!r}]" if one is value else path))
        todo += [(item, path) for item in one.items or ()]
        for name, entries in names.items():
            if len(entries) > 1:
                yield _repeated(f"{name!r} in {path}", entries, "takes the last one", where)


def _mismatch(value: Span, shape: Shape, struct: str, where: str) -> Finding | None:
    """Make the finding for a value that Go refuses, or reads but cannot write again; None if Go accepts the value.

    Args:
        value: the value.
        shape: the field's type; for an element of a list, the element's type.
        struct: the Go struct that has the field.
        where: the field's path; ``""``: the value is the whole document.
    """
    if isinstance(shape, Anything) or (isinstance(shape, Map) and value.entries is not None):
        return None
    holder = StructOf("Signature", True, {"X": ("X", shape)})
    try:
        written = fill(Pairs([("X", value.node)]), holder).get("X")
    except RemoteProtocolError as exc:
        fields = re.sub(r"\[\d+\]", "", where)
        go = str(exc).replace(
            "Go struct field Signature.X", f"Go struct field {struct}.{fields}" if where else "Go value"
        )
        name = fields.rpartition(".")[2]
        return Finding(
            level="fault",
            text=f"Go cannot read {_kind(value)} as {_expected(shape)}"
            + (f", the type of {name}" if name else "")
            + _written_with_a_point(value, shape),
            start=value.start,
            end=value.end,
            where=where,
            go=f"refuses the whole document: {go}",
            python="refuses the whole document, too",
        )
    if isinstance(written, RemoteProtocolError):
        return Finding(
            level="fault",
            text="the zone of this time is 24 hours away from UTC",
            start=value.start,
            end=value.end,
            where=where,
            go=_cannot_write(struct, where),
            python="refuses the whole document",
        )
    return None


def _cannot_write(struct: str, where: str) -> str:
    """Name the step in which Go has to write an unwritable time again, and the loss if it fails."""
    when, lost = {
        "Signature": ("sends this step, or retries the message,", "the step or the retry is lost")
        if where != "ETA"
        else ("moves the message from Redis' delayed tasks to its queue", "the message is lost"),
        "TaskState": ("stores the task's next state", "the state is not stored"),
    }.get(struct, ("sets ChordTriggered", "the callback is never sent"))
    return (
        f"reads it. A Go worker that {when} has to write the time again. If the worker was built with Go 1.20 or "
        f"later, this fails with the error 'timezone hour outside of range [0,23]', and {lost}"
    )


def _written_with_a_point(value: Span, shape: Shape) -> str:
    """Explain why Go refuses ``2.0`` and ``1e2``, which look like whole numbers; ``""`` for other values."""
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
