"""Many changes in one request, and what is said about each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bson.errors import InvalidDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from gearmesh.backends.mongodb.connection import TRANSIENT, ServerRefuses, Table, asking
from gearmesh.backends.mongodb.documents import Change
from gearmesh.errors import BackendError, Unstorable
from gearmesh.wire.state import FAILURE, SUCCESS

__all__ = ["FINAL", "update_all"]

FINAL: Final = (SUCCESS, FAILURE)
#: Code: there is a document with that _id already.
DUPLICATE: Final = 11000
#: Codes: the document would be larger than MongoDB's 16 MiB.
_TOO_LARGE: Final = frozenset((10334, 17419, 17420))


def update_all(table: Table, changes: Sequence[Change]) -> None:
    """Carry out changes of different documents, in any order.

    Raises:
        Unstorable: one is too large; the others are stored.
    """
    again = _attempt(table, changes)
    # Two who make one document at once: the second is told that it is there. It can change it now.
    again = _attempt(table, again)
    # An early state that still finds it there, but not as one that it may change: it is final.
    again = [change for change in again if not change.early]
    while again:
        again = _attempt(table, again)


def _attempt(table: Table, changes: Sequence[Change]) -> list[Change]:
    """Those that met a document which was made meanwhile, or which they must not change."""
    if not changes:
        return []
    with asking():
        try:
            table.bulk_write([_operation(change) for change in changes], ordered=False)
            return []
        except BulkWriteError as exc:
            return _sort_out(changes, exc)
        except InvalidDocument as exc:  # the driver sees that one is too large
            reason: Exception = exc
        except OperationFailure as exc:  # the server sees it, before it looks at any of them
            if exc.code not in _TOO_LARGE:
                raise
            reason = exc
    if len(changes) == 1:
        raise _too_large(changes[0]) from reason
    return _singly(table, changes)


def _operation(change: Change) -> UpdateOne:
    query: dict[str, Any] = {"_id": change.uuid}
    if change.early:
        query["state"] = {"$nin": list(FINAL)}
    return UpdateOne(query, change.update(), upsert=True)


def _sort_out(changes: Sequence[Change], exc: BulkWriteError) -> list[Change]:
    again, wrong = [], []
    for error in exc.details.get("writeErrors", ()):
        change, code, text = changes[error["index"]], error["code"], f"MongoDB: {error.get('errmsg', '')}"
        if code == DUPLICATE:
            again.append(change)
        elif code in TRANSIENT:
            raise ServerRefuses(text) from exc
        else:
            wrong.append(_too_large(change) if code in _TOO_LARGE else BackendError(f"{change.uuid}: {text}"))
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
