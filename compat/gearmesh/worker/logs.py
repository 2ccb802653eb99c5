"""Log records as lines: for people, or as JSON. No line shows a URL's password."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import msgspec

from gearmesh.urls import redact_text

__all__ = ["HumanFormatter", "JsonFormatter", "set_up_logging"]

#: What every record has; anything else came with ``extra=`` and is shown as a field.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def set_up_logging(level: str = "INFO", format: str = "human", stream: TextIO | None = None) -> None:
    """Send all log records to ``stream`` (None: standard error), replacing earlier handlers.

    Args:
        level: of gearmesh's and the app's records; libraries log from WARNING on.
        format: ``"human"`` or ``"json"``.
        stream: where lines go.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else HumanFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("amqp", "asyncio", "kombu", "redis"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in vars(record).items() if key not in _USUAL and key[0] != "_")


class HumanFormatter(logging.Formatter):
    """``2026-11-21 13:03:41.337 INFO    task succeeded  task=add uuid=task_…``"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = " ".join(f"{key}={_plain(value)}" for key, value in _fields(record))
        line = super().formatMessage(record)
        return f"{line}  {fields}" if fields else line

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, the record's fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in _fields(record):
            entry.setdefault(key, value)
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return redact_text(msgspec.json.encode(entry, enc_hook=str).decode())


def _plain(value: Any) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() for c in text) else text
