"""Cuts captured input into pieces: documents, commands to Redis, lines of a log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gearmesh.errors import RemoteProtocolError
from gearmesh.explain.envelopes import Unread, from_base64, unwrap
from gearmesh.explain.log_lines import LogLine, log_line
from gearmesh.explain.spans import Span, read_spans
from gearmesh.wire.gojson.read import read

__all__ = ["Piece", "pieces"]

_SPACE: Final = b" \t\n\r"
#: Nested envelopes that are opened.
MAX_ENVELOPES: Final = 8
#: For each kind of document, the fields by which it is recognized, in lower case.
KIND_FIELDS: Final = {
    "signature": frozenset(
        [
            "uuid",
            "name",
            "routingkey",
            "eta",
            "groupuuid",
            "grouptaskcount",
            "args",
            "headers",
            "priority",
            "immutable",
            "retrycount",
            "retrytimeout",
            "onsuccess",
            "onerror",
            "chordcallback",
            "brokermessagegroupid",
            "sqsreceipthandle",
            "stoptaskdeletiononerror",
            "ignorewhentasknotregistered",
        ]
    ),
    "state": frozenset(["taskuuid", "taskname", "state", "results", "error", "createdat", "ttl"]),
    "group": frozenset(["groupuuid", "taskuuids", "chordtriggered", "lock", "createdat", "ttl"]),
}
#: The fields that only this kind has.
_DECIDING: Final = {"state": {"taskuuid", "state", "results"}, "group": {"taskuuids", "chordtriggered"}}
_NAME: Final = re.compile(rb'"([A-Za-z]+)"\s*:')
_CLI_ROW: Final = re.compile(rb'\s*(?:\d+\)\s*)+"((?:[^"\\]|\\.)*)"\s*')
_CLI_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CLI_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
_MONITOR: Final = re.compile(rb'\s*\d+\.\d+ \[[^\]]*\] ((?:"(?:[^"\\]|\\.)*"\s*)+)')
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_COMMAND: Final = re.compile(
    rb"\s*(RPUSH|LPUSH|SET|SETEX|ZADD|ZREM|GET|MGET|DEL|LREM|BLPOP|EVALSHA|EVAL|EXPIRE|GETSET|SETNX)\s+(.+)",
    re.DOTALL | re.IGNORECASE,
)


class Piece(msgspec.Struct, kw_only=True):
    """Holds one document or one line of a text that a user has captured.

    Attributes:
        body: the bytes of the document; None: there is none, as in a log line.
        kind: ``signature``, ``state``, ``group`` or ``unknown``.
        before: sentences about the envelopes or commands around it.
        label: its place in the input: ``line 3``, ``element 2``; ``""``: it is the whole input.
        log: the meaning of a log line; None: it is not one.
        unread: a result that a Go caller cannot read from its backend; None: no such result is known.
    """

    body: bytes | None = None
    kind: str = "unknown"
    before: list[str] = []
    label: str = ""
    log: LogLine | None = None
    unread: Unread | None = None


def pieces(data: bytes, label: str = "", before: list[str] | None = None) -> list[Piece]:
    """Cut the input into pieces, in order. Input that is not recognized is one piece of the kind ``unknown``."""
    told = before or []
    if len(told) > MAX_ENVELOPES:
        return [Piece(body=data, before=told, label=label)]
    try:
        _, end = read(data)
    except RemoteProtocolError:
        return _not_json(data, label, told)
    rest = data[end:].strip(_SPACE)
    # The number with which a line of MONITOR or a row of redis-cli begins is a JSON document as well.
    if rest and (_is_lines(rest) or _known_line(data.lstrip(_SPACE).split(b"\n", 1)[0])):
        return list(_lines(data))
    root = read_spans(data)
    if root.items is not None and not rest:
        return _list(root, data, label, told)
    if isinstance(root.scalar, str) and not rest:
        inner = str(root.scalar).encode()
        if inner.lstrip()[:1] in (b"{", b"[") or from_base64(inner):
            return pieces(inner, label, [*told, "The input is a JSON text that has the document in it."])
    return _object(root, data, label, told)


def _object(root: Span, data: bytes, label: str, told: list[str]) -> list[Piece]:
    kind = kind_of(data, root)
    if kind == "unknown" and root.entries is not None:
        inside = unwrap(root, data)
        found: list[Piece] = []
        for index, envelope in enumerate(inside):
            place = label if len(inside) == 1 else f"{label}, part {index + 1}".lstrip(", ")
            if envelope.is_message:
                found.append(Piece(body=data, kind="signature", before=[*told, envelope.text], label=place))
                continue
            opened = pieces(envelope.body, place, [*told, envelope.text])
            for piece in opened:
                piece.unread = piece.unread or envelope.unread
            found += opened
        if found:
            return found
    return [Piece(body=data, kind=kind, before=told, label=label)]


def _list(root: Span, data: bytes, label: str, told: list[str]) -> list[Piece]:
    items = root.items or []
    if not items or any(item.entries is None and not isinstance(item.scalar, str) for item in items):
        return [Piece(body=data, before=told, label=label)]
    found: list[Piece] = []
    for index, item in enumerate(items):
        place = f"{label}, element {index}".lstrip(", ")
        found += pieces(data[item.start : item.end], place, told)
    return found


def kind_of(data: bytes, root: Span | None = None) -> str:
    """Return the kind of a document, by its field names, or in text that is not JSON by each ``"name":``."""
    if root is not None:
        names = {entry.name.lower() for entry in root.entries or ()}
    else:
        names = {name.decode().lower() for name in _NAME.findall(data)}
    if root is not None and root.entries == []:
        return "signature"
    if root is not None and "_id" in names:  # MongoDB's; Machinery's own documents have no such field
        return "unknown"
    if "taskuuids" in names or "chordtriggered" in names:
        return "group"
    if names & _DECIDING["state"] and not names & {"uuid", "args", "routingkey"}:
        return "state"
    return (
        "signature"
        if names & KIND_FIELDS["signature"] and not names & {"_id", "signature", "body"}
        else "unknown"
    )


def _not_json(data: bytes, label: str, told: list[str]) -> list[Piece]:
    inner = from_base64(data)
    if inner is not None:
        return pieces(inner, label, [*told, "The input is base64."])
    if _is_lines(data):
        return list(_lines(data))
    return [Piece(body=data, kind=kind_of(data), before=told, label=label)]


def _is_lines(data: bytes) -> bool:
    """Return True if the text has a line of Redis or of a log, or several lines with a JSON document each."""
    rows = [row for row in data.split(b"\n") if row.strip()]
    if any(_known_line(row) for row in rows[:1000]):
        return True
    return len(rows) > 1 and sum(_starts_document(row) for row in rows) > 1


def _starts_document(row: bytes) -> bool:
    if row.lstrip()[:2] != b'{"':
        return False
    try:
        read(row)
    except RemoteProtocolError:
        return False
    return True


def _known_line(row: bytes) -> bool:
    return bool(_CLI_ROW.fullmatch(row) or _MONITOR.match(row) or _COMMAND.match(row) or log_line(row))


def _lines(data: bytes) -> Iterator[Piece]:
    rows = data.split(b"\n")
    several = sum(1 for row in rows if row.strip()) > 1
    skipped = 0
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        found = _line(row.rstrip(b"\r"), f"line {number}" if several else "")
        skipped += not found
        yield from found
    if skipped:
        told = f"{skipped:,} {'line is' if skipped == 1 else 'lines are'} not from Machinery."
        yield Piece(before=[told], label="the rest")


def _line(row: bytes, label: str) -> list[Piece]:
    match = _CLI_ROW.fullmatch(row)
    if match is not None:
        return pieces(_unescaped(match.group(1)), label, ["A row of redis-cli."])
    match = _MONITOR.match(row)
    if match is not None:
        words = [_unescaped(word) for word in _QUOTED.findall(match.group(1))]
        return _command(words, label, "Seen by Redis' MONITOR.") if words else []
    match = _COMMAND.match(row)
    if match is not None:
        return _command([match.group(1), *_words(match.group(2))], label, "")
    logged = log_line(row)
    if logged is not None:
        found = [Piece(log=logged, label=label)]
        if logged.body is not None:
            found += pieces(logged.body, label, ["The message in that line:"])
        return found
    return pieces(row, label) if row.lstrip()[:1] in (b"{", b'"') else []


def _words(text: bytes) -> Iterator[bytes]:
    """Yield the words of a command that is written without quotes; a JSON document is one word."""
    rest = text.strip()
    while rest:
        if rest[:1] == b"{":
            try:
                end = read(rest)[1]
            except RemoteProtocolError:
                end = len(rest)
            yield rest[:end]
            rest = rest[end:].lstrip()
        else:
            word, _, rest = rest.partition(b" ")
            yield word


def _unescaped(text: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        return bytes([int(code[1:], 16)]) if len(code) == 3 else _CLI_LETTERS.get(code, code)

    return _CLI_ESCAPE.sub(one, text)


def _command(words: list[bytes], label: str, seen: str) -> list[Piece]:
    verb = words[0].decode().upper()
    key = words[1].decode(errors="replace") if len(words) > 1 else ""
    body = next((word for word in words[2:] if word.lstrip()[:1] == b"{"), None)
    if verb == "RPUSH":
        text = f"A client or worker puts a message at the end of the queue {key!r}."
    elif verb == "LPUSH":
        text = f"A client or worker puts a message at the head of the queue {key!r}."
    elif verb == "ZADD":
        text = (
            f"A client or worker puts a message among the delayed ones in {key!r}. A worker moves it to its queue when "
            "it is due."
        )
    elif verb == "ZREM":
        text = (
            f"A delayed message in {key!r} is due. If ZREM answers 1, this worker has removed the message, and sends "
            "it to the message's queue."
        )
    elif verb in ("SET", "SETEX") and body is not None:
        seconds = next((word.decode() for word in words[2:] if word.isdigit()), "")
        text = f"A client or worker stores this under {key!r}" + (f", for {seconds} s." if seconds else ".")
    elif verb in ("SET", "SETNX") and key == "TriggerChordMutex":
        text = (
            "A Go worker tries to take the lock for ChordTriggered: it has the lock if the answer is OK. It holds the "
            "lock while it sets ChordTriggered, so that only one worker sends a chord's callback."
        )
    elif verb in ("GET", "MGET"):
        keys = ", ".join(word.decode(errors="replace") for word in words[1:4])
        more = f" and {len(words) - 4} more" if len(words) > 4 else ""
        text = f"A client or worker reads {keys}{more}."
    elif verb == "BLPOP":
        text = (
            f"A Go worker waits for a message of the queue {key!r}. Once it has one, that message is only in the "
            "worker's memory: if the worker dies, the message is lost."
        )
    elif verb.startswith("EVAL"):
        text = "A client or worker runs a script. Machinery has one script, which releases the lock for ChordTriggered."
    elif verb == "DEL" and key == "TriggerChordMutex":
        text = "Machinery's script releases the lock for ChordTriggered."
    else:
        text = f"The command {verb} {key}."
    told = [*filter(None, [seen]), text]
    return [Piece(before=told, label=label)] if body is None else pieces(body, label, told)
