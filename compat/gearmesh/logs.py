"""Adds the task's name and UUID to log records, and formats records as lines: for people, or as JSON.

gearmesh logs under the loggers ``gearmesh.…`` of :mod:`logging`, and installs no handler by itself:
only its commands do. In your own program, put a :class:`TaskFilter` on a handler. It gives the task's name
and UUID to every record, also to those of the task's own code and of the libraries that it calls::

    handler = logging.StreamHandler()
    handler.addFilter(TaskFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s [%(task)s %(uuid)s] %(message)s"))
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, TextIO

import msgspec

from gearmesh.urls import redact_text

__all__ = ["FORMATS", "HumanFormatter", "JsonFormatter", "TaskFilter", "set_level", "set_up_logging"]

FORMATS: Final = ("human", "json")

#: The attributes that every record has; any other came with ``extra=``, or from a filter, and is shown as a field.
#: (``taskName`` is asyncio's task, since Python 3.12.)
_RECORD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Attribute with a dict of fields that only JSON lines have, since the message says the same for people.
_DETAILS: Final = "_details"
#: ANSI colours by level, for a terminal.
_COLOURS: Final = {
    logging.DEBUG: "\033[2m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[1;31m",
}
_RESET: Final = "\033[0m"
#: Libraries that log much: they log from WARNING on.
_NOISY_LOGGERS: Final = ("amqp", "asyncio", "kombu", "pymongo", "redis")


class TaskFilter(logging.Filter):
    """Adds ``task`` and ``uuid`` to each record: those of the task that makes the record, or ``""`` outside of tasks.

    If the program uses OpenTelemetry and a span is active, records get ``trace_id`` and ``span_id``, too.

    Put it on a handler, because a logger's filters do not see the records of its children. The filter drops no record,
    and does not change a field that a record already has. A thread that a task starts has the task's name only if it
    was started with the task's context (``contextvars.copy_context().run``).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        tasks = sys.modules.get("gearmesh.app.context")  # no task has run before it was imported
        running = None if tasks is None else tasks.RUNNING.get(None)
        if not hasattr(record, "task"):
            record.task = running.name if running is not None else ""
        if not hasattr(record, "uuid"):
            record.uuid = running.uuid if running is not None else ""
        traces = sys.modules.get("opentelemetry.trace")
        if traces is not None and not hasattr(record, "trace_id"):
            span = traces.get_current_span().get_span_context()
            if span.is_valid:
                record.trace_id, record.span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        return True


def set_up_logging(level: str = "INFO", format: str = "human", stream: TextIO | None = None) -> None:
    """Send all log records to ``stream`` (None: standard error), replacing earlier handlers.

    Args:
        level: of gearmesh's and the app's records; libraries log from WARNING on.
        format: ``"human"`` or ``"json"``.
        stream: where lines go.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.addFilter(TaskFilter())
    handler.setFormatter(JsonFormatter() if format == "json" else HumanFormatter(colour=_in_colour(stream)))
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Log from ``level`` on: DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    logging.getLogger().setLevel(level)
    for noisy in _NOISY_LOGGERS:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for key, value in vars(record).items():
        if key not in _RECORD_ATTRIBUTES and key[0] != "_" and not (value == "" and key in ("task", "uuid")):
            yield key, value


def _in_colour(stream: TextIO) -> bool:
    """True for a terminal that shows colours, unless NO_COLOR is set; with FORCE_COLOR, True for any stream."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class HumanFormatter(logging.Formatter):
    """Formats a record for people.

    ``2026-11-21 13:03:41.337 INFO    worker: succeeded in 12.3 ms  task=add uuid=task_…``

    Times are local. Loggers of gearmesh are shown without ``gearmesh.``.

    Args:
        colour: colour lines by their level; INFO stays as it is.
    """

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour
        super().__init__("%(asctime)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = " ".join(f"{key}={_plain(value)}" for key, value in _fields(record))
        name = record.name.removeprefix("gearmesh.")
        line = f"{record.asctime}.{int(record.msecs):03d} {record.levelname:<7} {name}: {record.message}"
        colour = _COLOURS.get(record.levelno) if self._colour else None
        if colour:
            line = f"{colour}{line}{_RESET}"
        return f"{line}  {fields}" if fields else line

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object a line.

    It has the time (RFC 3339, local with its offset), level, logger, message, the record's fields, and the error.
    """

    def format(self, record: logging.LogRecord) -> str:
        local = datetime.fromtimestamp(record.created).astimezone()
        entry: dict[str, Any] = {
            "time": local.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key, value in _fields(record):
            entry.setdefault(key, value)
        entry |= {key: value for key, value in vars(record).get(_DETAILS, {}).items() if key not in entry}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return redact_text(msgspec.json.encode(entry, enc_hook=str).decode())


def _plain(value: Any) -> str:
    text = str(value)
    return repr(text) if not text or any(c.isspace() for c in text) else text
