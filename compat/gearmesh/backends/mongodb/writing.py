"""Many changes in one request, and what is said about each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bson.errors import InvalidDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from gearmesh.backends.mongodb.connection import TRANSIENT_ERROR_CODES, ServerRefuses, Table, asking
from gearmesh.backends.mongodb.documents import Change
from gearmesh.errors import BackendError, Unstorable
from gearmesh.wire.state import FAILURE, SUCCESS

__all__ = ["FINAL_STATES", "update_all", "upsert_all"]

FINAL_STATES: Final = (SUCCESS, FAILURE)
#: Code: there is a document with that _id already.
DUPLICATE_KEY_CODE: Final = 11000
#: The backend tries a change this many times if each time it meets a document that was not there before.
MAX_WRITE_ATTEMPTS: Final = 3
#: Codes: the document would be larger than MongoDB's 16 MiB.
_TOO_LARGE_CODES: Final = frozenset((10334, 17419, 17420))


def update_all(table: Table, changes: Sequence[Change]) -> None:
    """Carry out changes of different documents, in any order.

    Raises:
        Unstorable: one is too large. The others may be stored or not: they can be written again.
        BackendError: MongoDB refuses one.
    """
    left = changes
    for _ in range(MAX_WRITE_ATTEMPTS):
        # Two who make one document at once: the second is told that it is there. It can change it now.
        left = _attempt(table, left)
        if not left:
            return
    # A state that finds it there, and not as one that it may change: it is final.
    for change in left:
        if not (change.early or change.yielding):
            raise BackendError(f"{change.uuid}: MongoDB says that there is another document like it")


def upsert_all(table: Table, updates: Sequence[UpdateOne]) -> None:
    """Carry out updates that make the document where there is none. Raises BackendError as :func:`update_all`."""
    left = list(updates)
    for _ in range(MAX_WRITE_ATTEMPTS if left else 0):
        with asking():
            try:
                table.bulk_write(left, ordered=False)
                return
            except BulkWriteError as exc:
                errors = exc.details.get("writeErrors", ())
                if not errors or any(error["code"] != DUPLICATE_KEY_CODE for error in errors):
                    raise
                left = [left[error["index"]] for error in errors]
    if left:
        raise BackendError("MongoDB says again and again that a document is there, and does not find it")


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
            if exc.code not in _TOO_LARGE_CODES:
                raise
            reason = exc
    if len(changes) == 1:
        raise _too_large(changes[0]) from reason
    return _singly(table, changes)


def _operation(change: Change) -> UpdateOne:
    query: dict[str, Any] = {"_id": change.uuid}
    if change.early:
        query["state"] = {"$nin": list(FINAL_STATES)}
    elif change.yielding:
        query["state"] = {"$ne": SUCCESS}
    return UpdateOne(query, change.update(), upsert=True)


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
