"""The report of a run: rows with verdicts, for scripts and for CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Literal
from xml.etree import ElementTree

import msgspec

__all__ = ["AGREES", "DIFFERS", "NOT_AVAILABLE", "Report", "Row", "Verdict"]

Verdict = Literal["agrees", "differs", "not available"]
AGREES: Final = "agrees"
DIFFERS: Final = "differs"
NOT_AVAILABLE: Final = "not available"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Says whether one subject passed in one direction.

    Attributes:
        direction: ``Python → worker``, ``worker → Python``, ``workflow`` or ``queue``.
        subject: the Go type or the feature.
        verdict: the outcome.
        detail: the values that were sent and came back, or the reason why there is no answer; ``""``: all agrees.
        checked: number of values or steps that were compared.
    """

    direction: str
    subject: str
    verdict: Verdict
    detail: str = ""
    checked: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the verdicts of a run of ``verify``, a row each.

    Attributes:
        broker, backend: URLs without passwords. queue: the queue of the workers. seconds: the duration of the run.
        left: the queues, messages and states that could not be removed, in words.
    """

    broker: str
    backend: str
    queue: str
    rows: tuple[Row, ...]
    seconds: float = 0.0
    left: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """Return the number of rows with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def agrees(self) -> bool:
        """True if something was compared and nothing differs."""
        return bool(self.count("agrees")) and not self.count("differs")

    def to_json(self) -> str:
        """Return the report as one JSON document."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        built["summary"] = {
            verdict: self.count(verdict) for verdict in ("agrees", "differs", "not available")
        }
        return json.dumps(built, ensure_ascii=False, indent=2)

    def to_junit(self) -> str:
        """Return the report as JUnit XML, with a suite for each direction; "not available" is a skipped test."""
        root = ElementTree.Element("testsuites", name="gearmesh verify")
        for direction in dict.fromkeys(row.direction for row in self.rows):
            rows = [row for row in self.rows if row.direction == direction]
            suite = ElementTree.SubElement(root, "testsuite", _counts(rows), name=direction)
            for row in rows:
                case = ElementTree.SubElement(suite, "testcase", classname=direction, name=row.subject)
                if row.verdict == DIFFERS:
                    ElementTree.SubElement(case, "failure", message=row.detail)
                elif row.verdict == NOT_AVAILABLE:
                    ElementTree.SubElement(case, "skipped", message=row.detail)
        ElementTree.indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _counts(rows: Sequence[Row]) -> dict[str, str]:
    return {
        "tests": str(len(rows)),
        "failures": str(sum(row.verdict == DIFFERS for row in rows)),
        "skipped": str(sum(row.verdict == NOT_AVAILABLE for row in rows)),
        "errors": "0",
    }
