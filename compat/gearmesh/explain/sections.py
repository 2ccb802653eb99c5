"""The parts of an explanation, before they become text."""

from __future__ import annotations

from gearmesh.explain.findings import Finding

__all__ = ["Sections"]


class Sections:
    """Holds the parts of an explanation of one document.

    Attributes:
        headline: one sentence that names the kind of the document.
        facts: names and values of its important fields.
        places: sentences about the places of its messages.
        workflow: the lines of the tree of its follow-up tasks; empty: it has none.
        go, python: sentences about the behaviour of Go and of Python.
        conclusion: sentences that advise the reader, or explain a cause.
        findings: its faults and oddities.
        data: its bytes, for the findings' excerpts.
    """

    def __init__(self, headline: str) -> None:
        self.headline = headline
        self.facts: list[tuple[str, str]] = []
        self.places: list[str] = []
        self.workflow: list[str] = []
        self.go: list[str] = []
        self.python: list[str] = []
        self.conclusion: list[str] = []
        self.findings: list[Finding] = []
        self.data = b""
