"""The parts of an explanation, before they become text."""

from __future__ import annotations

from gearmesh.explain.findings import Finding

__all__ = ["Sections"]


class Sections:
    """Holds all that is explained about one document.

    Attributes:
        headline: one sentence that says what it is.
        facts: names and values of what matters in it.
        places: sentences: where its messages are.
        workflow: the lines of a tree; empty: nothing follows.
        go, python: sentences: what either does with it.
        conclusion: sentences: what follows from all that was found.
        findings: what is wrong with it.
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
