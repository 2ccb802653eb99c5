"""Renders explanations as text for people."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.explain.aftermath import NEXT_CONSUMER, PUT_BACK_PYTHON
from gearmesh.explain.capture import Piece, pieces
from gearmesh.explain.fields import REPEATED, check_fields
from gearmesh.explain.findings import Finding, excerpt, place_of
from gearmesh.explain.log_lines import LogLine
from gearmesh.explain.sections import Sections
from gearmesh.explain.signatures import UNREADABLE_GO, UNREADABLE_PYTHON, check_signature, describe_signature
from gearmesh.explain.spans import Span, read_spans
from gearmesh.explain.states import check_group, check_state, describe_group, describe_state
from gearmesh.units import counted
from gearmesh.wire.codec import decode, decode_group, decode_state, encode, encode_group, encode_state
from gearmesh.wire.gojson.decode import GROUP_SHAPE, SIGNATURE_SHAPE, STATE_SHAPE
from gearmesh.wire.gojson.read import read
from gearmesh.wire.state import SUCCESS

__all__ = ["explain", "explain_document", "faults", "rendered"]

#: Columns of the text.
WIDTH_CHARS: Final = 100
#: Characters after which a line is cut; a word that is longer than the columns makes such a line.
MAX_LINE_CHARS: Final = 2000
#: Documents of one input that are explained; the others are counted.
MAX_DOCUMENTS: Final = 25
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_AT_BYTE: Final = re.compile(r" \(byte (\d+)\)")
_NOUNS: Final = {"signature": "message", "state": "state", "group": "group meta", "unknown": "other text"}
#: For each kind, the condition under which the document belongs to a chord, and the member whose worker reads it then.
_IN_CHORD: Final = {
    "state": ("If the task is a member of a chord", "another member"),
    "group": ("If this is the meta of a chord", "a member"),
}
_SHAPES: Final = {"signature": SIGNATURE_SHAPE, "state": STATE_SHAPE, "group": GROUP_SHAPE}
_BOM: Final = b"\xef\xbb\xbf"


def explain(data: bytes) -> tuple[str, int]:
    """Return the explanation of captured bytes, and the number of faults in them."""
    if not data.strip():
        return rendered(_empty(data)), 1
    found = pieces(data)
    shown = [_explained(piece) for piece in found[:MAX_DOCUMENTS]]
    total = sum(faults(part) for part in shown if isinstance(part, Sections))
    if len(found) == 1:
        return _piece_text(found[0], shown[0]), total
    blocks = [_overview(found)]
    first: dict[tuple[str, ...], int] = {}
    for index, (piece, part) in enumerate(zip(found, shown, strict=False)):
        _say_once(part, index + 1, first)
        title = f"── {index + 1} of {len(found)}" + (f": {piece.label} " if piece.label else " ")
        blocks.append(title.ljust(WIDTH_CHARS, "─") + "\n\n" + _piece_text(piece, part))
    if len(found) > MAX_DOCUMENTS:
        blocks.append(f"… and {len(found) - MAX_DOCUMENTS:,} more, which are not explained here.\n")
    return "\n".join(blocks), total


def _say_once(told: Sections | None, number: int, first: dict[tuple[str, ...], int]) -> None:
    """Replace the sentences about Go and Python by a reference, if an earlier document has the same sentences."""
    if told is None or not told.go:
        return
    same = first.setdefault((*told.go, *told.python), number)
    if same != number:
        told.go, told.python = [f"See number {same} above: Go and Python do the same here."], []


def faults(told: Sections) -> int:
    """Count the findings that are faults."""
    return sum(finding.level == "fault" for finding in told.findings)


def explain_document(data: bytes, kind: str) -> Sections:
    """Return the explanation of one document of a kind."""
    try:
        end = read(data)[1]
    except RemoteProtocolError as exc:
        return _not_json(data, kind, str(exc))
    root = read_spans(data)
    if kind == "unknown":
        return _unknown(data, root)
    findings, refused = check_fields(root, _SHAPES[kind])
    if refused:
        told = _refused(kind)
        told.findings = findings
    else:
        told = _readable(kind, data, root, merged=any(REPEATED in one.text for one in findings))
        told.findings = [*told.findings, *findings]
    told.findings += _of_text(data, root, end)
    told.findings.sort(key=lambda finding: (finding.level != "fault", finding.start or 0))
    told.data = data
    return told


def _readable(kind: str, data: bytes, root: Span, merged: bool) -> Sections:
    """Explain a document that Go can read.

    ``merged``: a field comes more than once. The findings are then about the values that Go merges. They name no bytes,
    since the merged values are not in the text.
    """
    try:
        if kind == "signature":
            sig = decode(data)
            data, root = _written(encode(sig)) if merged else (data, root)
            found, broken = check_signature(sig, root, data)
            told = describe_signature(sig, broken_args=broken)
        elif kind == "state":
            state = decode_state(data)
            data, root = _written(encode_state(state)) if merged else (data, root)
            found = list(check_state(state, root, data))
            broken = any(one.level == "fault" and one.where.startswith("Results[") for one in found)
            told = describe_state(state, broken_results=broken)
        else:
            meta = decode_group(data)
            data, root = _written(encode_group(meta)) if merged else (data, root)
            told = describe_group(meta)
            found = list(check_group(meta, root))
    except RemoteProtocolError:
        told = _only_go_reads(kind)
        found, merged = list(_nulls(root)), False
    told.findings = [msgspec.structs.replace(one, start=None, end=None) for one in found] if merged else found
    return told


def _written(data: bytes) -> tuple[bytes, Span]:
    return data, read_spans(data)


def _nulls(root: Span) -> Iterator[Finding]:
    """Find the results of a state that are null."""
    state = root.find("State")
    go = (
        "reads it. A caller's Get panics. If the task is a member of a chord, the worker that would send the callback "
        "panics, too, unless the callback is Immutable. That worker's process ends, and the callback is never sent. "
        "On RabbitMQ the next worker gets the message, and ends in the same way. On Redis this message is gone, and "
        "so are the others that the process holds"
        if state is not None and state.scalar == SUCCESS
        else "reads it, and does not look at the results, since the state is not SUCCESS"
    )
    for index, item in enumerate(root.elements("Results")):
        if item.entries is None:
            yield Finding(
                level="fault",
                text=f"Results[{index}] is null, where a result is expected",
                start=item.start,
                end=item.end,
                where=f"Results[{index}]",
                go=go,
                python="refuses the state",
            )


def _only_go_reads(kind: str) -> Sections:
    told = Sections(f"This is a {_NOUNS[kind]} that Go reads and gearmesh does not.")
    told.go.append('"What is wrong" describes how Go reads it.')
    told.python += [UNREADABLE_PYTHON] if kind == "signature" else _unreadable_result_python(kind)
    return told


def _refused(kind: str) -> Sections:
    told = Sections(f"This is a {_NOUNS[kind]} that cannot be read.")
    if kind == "signature":
        told.go.append(UNREADABLE_GO)
        told.python.append(UNREADABLE_PYTHON)
    else:
        told.go.append(
            "A Go caller asks again and again: Get never returns, and GetWithTimeout ends with its timeout."
            if kind == "state"
            else "A Go caller's Get is not affected: it reads the members' states, not this meta."
        )
        in_chord, member = _IN_CHORD[kind]
        told.go.append(
            f"{in_chord}, a Go worker that stores SUCCESS for {member} cannot see if the chord is complete, and its "
            f"consumer stops with an error. If that was the last member, the callback is never sent. {NEXT_CONSUMER}"
        )
        told.python += _unreadable_result_python(kind)
    return told


def _unreadable_result_python(kind: str) -> Iterator[str]:
    """Say what gearmesh does with a state or a group meta that it cannot read."""
    in_chord, member = _IN_CHORD[kind]
    yield "A gearmesh caller gets an error that names the key and the reason."
    yield (
        f"{in_chord}, a gearmesh worker that ends {member} stores that member's state and logs an error that names "
        "the key. The chord's callback is not sent."
    )
    again = "the task or its whole chord" if kind == "state" else "the whole chord"
    yield f"If the key on the server holds the same text, delete the key, and send {again} again."


def _not_json(data: bytes, kind: str, reason: str) -> Sections:
    match = _AT_BYTE.search(reason)
    at = int(match.group(1)) if match else len(data)
    said = _AT_BYTE.sub("", reason)
    told = _refused("signature" if kind == "unknown" else kind)
    if kind == "unknown":
        told.headline = "This is not JSON. If it is a message, no worker can read it."
    noun = "document" if kind == "unknown" else _NOUNS[kind]
    if reason == "unexpected EOF":
        text = (
            f"the text ends in the middle, after {counted(len(data), 'byte')}: either the {noun} was cut off, or only "
            "this copy of it. Compare it with the one on the server"
        )
    elif data.startswith(_BOM):
        text = "the text begins with a byte order mark (EF BB BF), which is not JSON"
        at = 0
    else:
        text = f"this is not JSON: {said}{_hint(data, at, noun)}"
    told.findings = [
        Finding(level="fault", text=text, start=min(at, max(len(data) - 1, 0)), go=f"says: {said}")
    ]
    told.data = data
    return told


def _hint(data: bytes, at: int, noun: str) -> str:
    """Guess the cause of the error at a byte, as text that continues the sentence; ``""`` if no cause is known."""
    byte = data[at : at + 1]
    if byte == b"'":
        return "; JSON has double quotes (this looks like Python's repr)"
    if data[at : at + 4] in (b"True", b"None") or data[at : at + 5] == b"False":
        return "; JSON writes true, false and null (this looks like Python's repr)"
    if data[at : at + 3] in (b"NaN", b"Inf") or data[at : at + 4] == b"-Inf":
        return "; JSON has no such number"
    if byte in (b"}", b"]"):
        return "; there is a comma too many before it"
    if byte and byte < b" ":
        return "; control characters in a text have to be escaped"
    if b"\\\\" in data and _is_json(data.replace(b"\\\\", b"\\")):
        return (
            ". All backslashes are doubled. MONITOR prints them so: if this text comes from MONITOR, replace each two "
            f"by one, and explain it again; the {noun} on the server may be intact"
        )
    if byte >= b"\x80":
        char = data[at : at + 4].decode(errors="ignore")[:1]
        return (
            f"; this is U+{ord(char):04X} ({unicodedata.name(char, 'without a name')}) in UTF-8"
            if char
            else ""
        )
    return ""


def _unknown(data: bytes, root: Span) -> Sections:
    if root.entries is None and root.scalar is None and root.items is None:
        told = Sections("This is null. If it is a message, workers read it as an empty one.")
        told.go.append("A Go worker reads null as a message without a name, and puts it back over and over.")
        told.python.append(f"A gearmesh worker {PUT_BACK_PYTHON}.")
        told.findings = [
            Finding(
                level="fault",
                text="null is a message without a name, and no worker registers an empty name",
                start=root.start,
                end=root.end,
                go="puts it back over and over, and never runs it, until you remove it from the queue",
                python="makes it a dead letter after a day",
            )
        ]
        told.data = data
        return told
    told = Sections("This is JSON, but not a document of Machinery.")
    findings, refused = check_fields(root, SIGNATURE_SHAPE)
    if refused:
        told.go.append(UNREADABLE_GO)
        told.python.append(UNREADABLE_PYTHON)
    else:
        told.go.append(
            "If this were a message, it would have no name, and a Go worker would put it back over and over."
        )
        told.python.append(
            "A gearmesh worker would put it back after growing pauses, and make it a dead letter after a day."
        )
        nothing = (
            "it has neither the Name of a message nor the TaskUUID of a state nor the GroupUUID of a group"
        )
        findings = [Finding(level="fault", text=nothing), *findings]
    told.findings = findings
    told.data = data
    return told


def _empty(data: bytes) -> Sections:
    size = f"{counted(len(data), 'byte')}, all white space" if data else "0 bytes"
    told = Sections(f"This is empty: {size}.")
    told.go.append(UNREADABLE_GO)
    told.python.append(UNREADABLE_PYTHON)
    nothing = (
        "there is nothing to explain. If a key or a queue should have held a document, check the command that "
        "captured it"
    )
    told.findings = [Finding(level="fault", text=nothing, go="says: EOF")]
    return told


def _of_text(data: bytes, root: Span, end: int) -> Iterator[Finding]:
    """Find bytes behind the document, and strings that are not Unicode."""
    rest = data[end:].strip(b" \t\n\r")
    if rest:
        start = data.index(rest, end)
        second = rest[:1] == b"{" and _is_json(rest)
        size = counted(len(rest), "byte")
        yield Finding(
            level="fault",
            text=f"a second document follows, of {size}"
            if second
            else f"{size} {'follows' if len(rest) == 1 else 'follow'} the document",
            start=start,
            end=start + len(rest),
            go="reads the first document only" if second else "reads the document only",
            python="reads the first one only, too, so send the second one by itself"
            if second
            else "reads the document only, too",
        )
    for span in root.strings():
        if "\ufffd" not in str(span.scalar):
            continue
        literal = data[span.start : span.end]
        try:
            literal.decode()
        except UnicodeDecodeError as exc:
            yield Finding(
                level="fault",
                text="a text is not UTF-8",
                start=span.start + exc.start,
                end=span.start + exc.end,
                go="reads each such byte as U+FFFD, so the original text is lost",
                python="reads the same",
            )
            continue
        if b"\\ud" in literal.lower():
            yield Finding(
                level="fault",
                text="a text has half of a surrogate pair",
                start=span.start,
                end=span.end,
                go="reads U+FFFD in its place, so the original text is lost",
                python="reads the same",
            )


def _is_json(data: bytes) -> bool:
    try:
        read(data)
    except RemoteProtocolError:
        return False
    return True


def _readable_types(type: str) -> str:
    """Name the types, of values or of lists, that Go reads from MongoDB."""
    if type.startswith("[]"):
        return "[]int64, []float64, []bool or []string"
    return "int64, float64, bool, or a string that is not JSON"


def _explained(piece: Piece) -> Sections | None:
    if piece.body is None:
        return None
    told = explain_document(piece.body, piece.kind)
    if piece.unread is not None:
        told.go = [f"A Go caller's Get returns an error: {piece.unread.error}."]
        told.findings.insert(
            0,
            Finding(
                level="fault",
                text=(
                    f"a Go caller cannot read a result of the type {piece.unread.type} from MongoDB, even one that a "
                    f"Go worker has stored. Return {_readable_types(piece.unread.type)} from the task, or use another "
                    "backend"
                ),
                where="Results",
                go=f"returns an error from a caller's Get: {piece.unread.error}",
                python="reads it",
            ),
        )
    return told


def _piece_text(piece: Piece, told: Sections | None) -> str:
    parts = []
    if piece.before:
        before = list(piece.before)
        if told is not None and any(one.start is not None for one in told.findings):
            before.append(
                "Byte numbers count from the beginning of the document, without the text around it."
            )
        parts.append("\n".join(_wrapped(sentence, "") for sentence in before) + "\n")
    if piece.log is not None:
        parts.append(_log_text(piece.log))
    if told is not None:
        parts.append(rendered(told))
    return "\n".join(parts)


def _log_text(line: LogLine) -> str:
    about = ", ".join(filter(None, (line.level, line.at, line.source)))
    told = Sections("This is a line of a Machinery program's log" + (f" ({about})." if about else "."))
    told.facts.append(("meaning", line.text))
    told.go += filter(None, [line.go])
    told.python += filter(None, [line.python])
    return rendered(told, findings=False)


def _overview(found: Sequence[Piece]) -> str:
    kinds = Counter(_NOUNS[piece.kind] for piece in found if piece.body is not None)
    counts = [counted(count, noun) for noun, count in kinds.items()]
    logs = sum(piece.log is not None for piece in found)
    commands = sum(piece.body is None and piece.log is None and piece.label != "the rest" for piece in found)
    counts += [counted(logs, "log line")] if logs else []
    counts += [f"{counted(commands, 'command')} without a document"] if commands else []
    return f"The input has {', '.join(counts) or 'no document of Machinery'}.\n"


def rendered(told: Sections, *, findings: bool = True) -> str:
    """Return the text of one explanation. ``findings``: False leaves out the faults and the notes."""
    lines = [_wrapped(told.headline, ""), ""]
    width = max((len(name) for name, _ in told.facts), default=0)
    for name, value in told.facts:
        lines += _fact(name, value, width)
    lines += _paragraphs("Where it is", told.places)
    if told.workflow:
        lines += ["", "Follow-up tasks", *("  " + line for line in told.workflow)]
    lines += _paragraphs("In Go", told.go)
    lines += _paragraphs("In Python", told.python)
    lines += _paragraphs("Conclusion", told.conclusion)
    if findings:
        lines += ["", *_findings_text(told)]
    # A control character in a message must not reach the terminal.
    text = _CONTROL.sub("·", "\n".join(lines)) + "\n"
    text = "\n".join(_cut(line) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text)


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARS else line[: MAX_LINE_CHARS - 1] + "…"


def _paragraphs(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", title, *(_wrapped(sentence, "  ") for sentence in sentences)] if sentences else []


def _fact(name: str, value: str, width: int) -> list[str]:
    head = f"  {name.ljust(width)}  "
    rows = [row for line in value.splitlines() or [""] for row in _rows(line, WIDTH_CHARS - len(head))]
    return [(head if index == 0 else " " * len(head)) + row for index, row in enumerate(rows)]


def _rows(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, max(width, 40), break_long_words=False, break_on_hyphens=False) or [""]


def _wrapped(sentence: str, indent: str) -> str:
    return textwrap.fill(
        sentence,
        WIDTH_CHARS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _findings_text(told: Sections) -> list[str]:
    wrong = [one for one in told.findings if one.level == "fault"]
    notes = [one for one in told.findings if one.level == "note"]
    lines = ["What is wrong"]
    if not wrong:
        lines.append("  Nothing.")
    for finding in wrong:
        lines += _finding_text(finding, told.data)
    if notes:
        lines += ["", "Notes"]
        for finding in notes:
            lines += _finding_text(finding, b"")
    return lines


def _finding_text(finding: Finding, data: bytes) -> list[str]:
    place = place_of(finding)
    text = finding.text[:1].upper() + finding.text[1:]
    lines = [_wrapped(f"{text}." + (f" ({place})" if place else ""), "  ")]
    if data and finding.start is not None:
        shown, carets = excerpt(data, finding.start, finding.end or finding.start + 1)
        lines += [f"      {shown}", f"      {carets}"]
    if finding.go:
        lines.append(_wrapped(f"Go {finding.go}.", "    "))
    if finding.python:
        lines.append(_wrapped(f"Python {finding.python}.", "    "))
    return lines
