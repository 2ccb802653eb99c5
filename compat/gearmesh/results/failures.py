"""The failure record: a failed task's exception, traceback and message, stored beside the state that Go reads.

Go's TaskState has room for the error's text only. The record is a second state under a name that Go never reads (see
:func:`gearmesh.wire.names.failure_record`). The worker writes it together with the FAILURE to which it belongs, and
both expire together. A reader ignores a record of another error text: a later failure in Go has no record.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from types import TracebackType
from typing import Final

import msgspec

from gearmesh.errors import GearmeshError
from gearmesh.urls import redact_text
from gearmesh.wire.codec import encode
from gearmesh.wire.gojson.write import unicode
from gearmesh.wire.names import failure_record
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, TaskState

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_TRACEBACK_BYTES",
    "FailureDetails",
    "details_of",
    "read_record",
    "record_of",
    "type_name",
    "user_traceback",
]

#: A longer traceback loses its middle: a quarter of this size keeps its beginning, the rest its end with the error.
MAX_TRACEBACK_BYTES: Final = 16 * 1024
#: A longer message of a failed task is not stored.
MAX_MESSAGE_BYTES: Final = 16 * 1024
#: The search for passwords covers this much of a traceback; the rest is cut out before.
MAX_SEARCHED_BYTES: Final = 16 * MAX_TRACEBACK_BYTES
#: A longer name of a type is cut.
MAX_TYPE_CHARACTERS: Final = 256
_FIRST_WORD = re.compile(r"\A\S+")
_LAST_WORD = re.compile(r"\S+\Z")


class FailureDetails(msgspec.Struct, frozen=True):
    """Describe a failure beyond its error text.

    Attributes:
        exception_type: the exception's class: ``KeyError``, or ``shop.errors.OutOfStock`` outside of builtins.
        traceback: the traceback as Python prints it, from the task's own code on, without passwords of URLs;
            ``""`` if there is none, or if the setting ``store_tracebacks`` is off.
        digest: the SHA-1 of the error text to which the record belongs.
        message: the signature of the last run, as JSON; ``""`` if it is longer than :data:`MAX_MESSAGE_BYTES`, or if
            the setting ``store_failed_messages`` is off.
    """

    exception_type: str
    traceback: str = ""
    digest: str = ""
    message: str = ""


def details_of(
    exc: BaseException, *, tracebacks: bool = True, sig: Signature | None = None
) -> FailureDetails:
    """Describe an exception. Never raises.

    Args:
        exc: the exception.
        tracebacks: False leaves the traceback out.
        sig: the signature whose task raised it, which the record then keeps; None: the record keeps no signature.
    """
    message = "" if sig is None else _message_of(sig)
    return FailureDetails(type_name(exc), _text_of(exc) if tracebacks else "", message=message)


def record_of(uuid: str, error: str, details: FailureDetails) -> TaskState:
    """Make the record of a task's failure.

    Args:
        uuid: the task's.
        error: the text that the FAILURE carries.
        details: see :func:`details_of`.
    """
    body = msgspec.json.encode(msgspec.structs.replace(details, digest=_digest(error)))
    return TaskState(TaskUUID=failure_record(uuid), State=FAILURE, Error=body.decode())


def read_record(record: TaskState | None, error: str) -> FailureDetails | None:
    """Read a record of :func:`record_of`. None: there is no record, or it belongs to another error than ``error``."""
    if record is None:
        return None
    try:
        details = msgspec.json.decode(record.Error, type=FailureDetails)
    except msgspec.MsgspecError:
        return None
    return details if details.digest == _digest(error) else None


def type_name(exc: BaseException) -> str:
    """The name of an exception's class, with its module unless that is ``builtins``."""
    kind = type(exc)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return unicode(name)[:MAX_TYPE_CHARACTERS]


def user_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame outside of gearmesh on; None if there is no such frame."""
    trace = error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module != "gearmesh" and not module.startswith("gearmesh."):
            return trace
        trace = trace.tb_next
    return None


def _text_of(exc: BaseException) -> str:
    trace = user_traceback(exc)
    if trace is None:
        return ""
    try:
        text = "".join(traceback.format_exception(type(exc), exc, trace))
    except Exception:  # the exception's own code formats it, and may raise
        return ""
    # The search does not recognise half of a password, so the cut before it splits no word.
    searched = _shortened(unicode(text), MAX_SEARCHED_BYTES, between_words=True)
    return _shortened(redact_text(searched), MAX_TRACEBACK_BYTES)


def _message_of(sig: Signature) -> str:
    try:
        body = encode(sig)
        return body.decode() if len(body) <= MAX_MESSAGE_BYTES else ""
    except (GearmeshError, UnicodeDecodeError):
        return ""


def _shortened(text: str, limit: int, *, between_words: bool = False) -> str:
    body = text.encode()
    if len(body) <= limit:
        return text
    head = body[: limit // 4].decode(errors="ignore")
    tail = body[limit // 4 - limit :].decode(errors="ignore")
    if between_words:
        head = _LAST_WORD.sub("", head)
        tail = _FIRST_WORD.sub("", tail)
    return f"{head}\n… left out …\n{tail}"


def _digest(error: str) -> str:
    # A backend returns a character that is not valid Unicode as one U+FFFD, or as several.
    body = unicode(error).replace("\ufffd", "").encode()
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
