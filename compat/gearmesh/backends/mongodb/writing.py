"""Sends many changes in one request, and reports the outcome of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson.errors import InvalidDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from gearmesh.backends.mongodb.connection import TRANSIENT_ERROR_CODES, ServerRefuses, Table, asking
from gearmesh.errors import BackendError, Unstorable

__all__ = ["Change", "update_all"]

#: Code: there is a document with that _id already.
DUPLICATE_KEY_CODE: Final = 11000
#: The backend tries a change this many times if each time it meets a document that was not there before.
MAX_WRITE_ATTEMPTS: Final = 3
#: Codes: the document would be larger than MongoDB's 16 MiB.
_TOO_LARGE_CODES: Final = frozenset((10334, 17419, 17420))


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one document. If there is no such document, the change makes it.

    Attributes:
        uuid: the document's id.
        update: MongoDB's update document.
        query: conditions; a document that does not meet them stays as it is.
    """

    uuid: str
    update: Mapping[str, Any]
    query: Mapping[str, Any] = field(default_factory=dict)


def update_all(table: Table, changes: Sequence[Change]) -> None:
    """Carry out changes of different documents, in any order.

    Raises:
        Unstorable: a document is too large. The others may be stored or not; they can be written again.
        BackendError: MongoDB refuses a change.
    """
    left = changes
    for _ in range(MAX_WRITE_ATTEMPTS):
        # If two workers make one document at once, MongoDB tells the second that it exists, which can then change it.
        left = _attempt(table, left)
        if not left:
            return
    for change in left:
        if not change.query:
            raise BackendError(f"{change.uuid}: MongoDB says that another document has its key")


def _attempt(table: Table, changes: Sequence[Change]) -> list[Change]:
    """Send changes. Return those that met a document which was made meanwhile, or which they must not change."""
    if not changes:
        return []
    with asking():
        try:
            table.bulk_write(
                [UpdateOne({"_id": each.uuid, **each.query}, each.update, upsert=True) for each in changes],
                ordered=False,
            )
            return []
        except BulkWriteError as exc:
            return _sort_out(changes, exc)
        except InvalidDocument as exc:  # the driver sees that one is too large
            reason: Exception = exc
        except OperationFailure as exc:  # the server sees it before it carries out any change
            if exc.code not in _TOO_LARGE_CODES:
                raise
            reason = exc
    if len(changes) == 1:
        raise _too_large(changes[0]) from reason
    return _singly(table, changes)


def _sort_out(changes: Sequence[Change], exc: BulkWriteError) -> list[Change]:
    again, wrong = [], []
    for error in exc.details.get("writeErrors", ()):
        change, code, text = changes[error["index"]], error["code"], f"MongoDB: {error.get('errmsg', '')}"
        if code == DUPLICATE_KEY_CODE:
            again.append(change)
        elif code in TRANSIENT_ERROR_CODES:
            raise ServerRefuses(text) from exc
        else:
            wrong.append(
                _too_large(change) if code in _TOO_LARGE_CODES else BackendError(f"{change.uuid}: {text}")
            )
    for error in exc.details.get("writeConcernErrors", ()):
        raise ServerRefuses(f"MongoDB: {error.get('errmsg', '')}") from exc
    if wrong:
        raise wrong[0] from exc
    return again


def _singly(table: Table, changes: Sequence[Change]) -> list[Change]:
    again, refused = [], []
    for change in changes:
        try:
            again += _attempt(table, [change])
        except Unstorable as exc:
            refused.append(exc)
    if refused:
        raise refused[0]
    return again


def _too_large(change: Change) -> Unstorable:
    return Unstorable(change.uuid, "it is larger than the 16 MiB that MongoDB takes")
