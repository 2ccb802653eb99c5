"""One process's connection to MongoDB: its collections and their indexes, and the translation of pymongo's errors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.collection import Collection
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)

from gearmesh.errors import BackendError, ConfigError

__all__ = ["CONNECTION_ERRORS", "TRANSIENT_ERROR_CODES", "Connection", "ServerRefuses", "Table", "asking"]

log = logging.getLogger("gearmesh.mongodb")

Table = Collection[dict[str, Any]]


class ServerRefuses(ConnectionFailure):
    """The server refuses the login, or can't do its work now: the call may be repeated."""


CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (ConnectionFailure,)
#: MongoDB's codes of errors that are not the request's fault: a wrong login, no permission, a majority that does not
#: answer in time, no room on the disk.
TRANSIENT_ERROR_CODES: Final = frozenset((13, 18, 50, 64, 91, 100, 112, 262, 8000, 11600, 11602, 14031))
_FORBIDDEN_CODE: Final = 13
#: Milliseconds to find a server, to connect to it, and to wait for its answer, unless the URL has others.
_DEFAULT_TIMEOUTS_MS: Final = {
    "serverSelectionTimeoutMS": 3000,
    "connectTimeoutMS": 3000,
    "socketTimeoutMS": 8000,
}
#: PyMongo reads stored values as they are: times beyond Python's range, and Go's text that is not UTF-8.
_CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)


class Connection:
    """Connects all threads of one process to a MongoDB deployment. Nothing is connected before it is used.

    Args:
        url: a URL for MongoDB's drivers.
        database: the database's name.

    Raises:
        ConfigError: the driver can't fulfil an option of the URL (for example, a file does not exist).
    """

    def __init__(self, url: str, database: str) -> None:
        given = {option.partition("=")[0].lower() for option in url.partition("?")[2].split("&")}
        options: dict[str, Any] = {
            name: value for name, value in _DEFAULT_TIMEOUTS_MS.items() if name.lower() not in given
        }
        if not given & {"w", "journal"}:
            # A worker acknowledges a message once its result is stored, so the result must survive the server's death.
            options["journal"] = True
        try:
            self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
                url, connect=False, appname="gearmesh", **options
            )
        except (PyMongoError, OSError, ValueError) as exc:
            # The text of the exception may quote the URL.
            raise ConfigError(
                f"result backend: MongoDB's driver can't follow the URL: {type(exc).__name__}"
            ) from None
        self._database = self._client.get_database(database, codec_options=_CODEC)
        self._lock = threading.Lock()
        self._indexed: set[str] = set()

    def table(self, name: str) -> Table:
        """Return a collection without creating it or an index, since a read must create nothing."""
        return self._database[name]

    def indexed_table(self, name: str) -> Table:
        """Return a collection to write to; make the index by which MongoDB removes expired documents, if it is missing.

        Raises ConnectionFailure.
        """
        with self._lock:
            if name not in self._indexed:
                _index(self._database[name])
                self._indexed.add(name)
        return self._database[name]

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _index(table: Table) -> None:
    """Go: v2 makes the same index of ``tasks``; v1 makes two on fields that are no times, which remove nothing."""
    with asking():
        try:
            table.create_index([("delete_at", pymongo.ASCENDING)], expireAfterSeconds=0)
        except OperationFailure as exc:
            if exc.code in TRANSIENT_ERROR_CODES and exc.code != _FORBIDDEN_CODE:
                raise
            # Another index has that name, or the user may not create one: gearmesh can still store states.
            why = (exc.details or {}).get("errmsg", exc)
            log.warning("collection %s has no index that removes expired documents: %s", table.full_name, why)


@contextmanager
def asking() -> Iterator[None]:
    """Raise pymongo's errors as gearmesh's, except for those of the connection.

    Raises:
        ConnectionFailure: the call may be repeated (:class:`ServerRefuses` if the server has answered).
        BackendError: a repetition would fail, too.
    """
    try:
        yield
    except ConnectionFailure:
        raise
    except (ExecutionTimeout, ConfigurationError) as exc:  # the latter also if DNS does not answer
        raise ServerRefuses(str(exc)) from exc
    except OperationFailure as exc:
        text = f"MongoDB: {(exc.details or {}).get('errmsg', exc)} (code {exc.code})"
        if exc.code in TRANSIENT_ERROR_CODES:
            raise ServerRefuses(text) from exc
        raise BackendError(text) from exc
    except PyMongoError as exc:
        raise BackendError(f"MongoDB: {type(exc).__name__}: {exc}") from exc
