"""Read the prose of a Markdown page sentence by sentence, and find what this project's readers had to read twice.

``python -m tests.support.prose [PAGE …]`` prints the findings, and the long sentences: those are flagged, not
forbidden. ``tests/unit/test_prose.py`` fails on findings only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.pages import ROOT, page_paths

__all__ = ["MAX_WORDS", "Sentence", "findings", "long_sentences", "sentences"]

#: A longer sentence is flagged.
MAX_WORDS = 35

#: Patterns that fail, each with the advice that goes with it. They are tried on sentences without code and links.
RULES = {
    r"^(?:What|Who|Whom|Whose|Which|Whether|How(?! to\b))\b(?!.*\?$)": "opens with a noun clause: name the actor",
    r"(?i)\b(?:whoever|whomever)\b": "name the actor: 'the worker that'",
    r"(?i)\bat the most\b": "at most",
    r"(?i)\b(?:is|are|be|was|were|been) told\b": "notified, reported, or name who writes it",
    r"(?i)\bhears? of\b": "is notified, learns",
    r"(?i)\b(?:is|are|was|were) (?:said|to be said)\b": "is set, is configured",
    r"(?i)\b(?:is|are|was|were|be) away\b": "is unreachable",
    r"(?i)\bin vain\b": "name what happens: waits until its timeout",
    r"\b(?:is|are) none\b": "is not a …, or there is no …",
    r"(?i)\bis no (?:list|signature|message|yaml|number|url|task|queue|lock)\b": "is not a …",
    r"(?i)\bas it is used to\b|\bis used to it\b": "as usual",
    r"(?i)\b(?:the|a) trap\b": "name the mistake",
    r"(?i)\bfor ever\b": "without limit, never expires",
    r"(?i)\bseldom\b": "rarely",
    r"(?i)\bnobody\b|\bsomebody\b": "name the actor: no worker, another worker",
}
_RULES = [(re.compile(pattern), advice) for pattern, advice in RULES.items()]

_FENCE = re.compile(r"^(?P<mark>```+|~~~+|:::+).*?^(?P=mark)\s*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\([^)]*\)")
#: The end of a sentence: not that of "e.g." or of a number.
_END = re.compile(r"(?<=[.!?:])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)[*_”\")]*\s+(?=[A-Z“\"(*`])")


class Sentence(NamedTuple):
    """One sentence of a page, or a cell of a table, with the line on which its paragraph begins."""

    line: int
    text: str

    @property
    def words(self) -> int:
        return len(re.findall(r"[\w'’-]+", self.text))


def sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a Markdown text. Code is left out, code within a sentence counts as one word."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    text = _COMMENT.sub(blank, _FENCE.sub(blank, text))
    text = re.sub(r"``[^`]+``|`[^`\n]+`", "CODE", text)
    # The text of a link is a title, which may be a question: "How each broker can lose a task".
    text = _LINK.sub(
        lambda match: "The page" if re.match("What|How|Who", match["text"]) else match["text"], text
    )
    paragraph: list[str] = []
    begin = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        stripped = line.strip()
        item = re.match(r"(?:[-*+]|\d+\.)\s+", stripped)
        apart = not stripped or stripped.startswith(("#", "|", ">")) or item is not None
        if apart and paragraph:
            yield from _split(begin, " ".join(paragraph))
            paragraph = []
        if stripped.startswith("|"):
            for cell in stripped.strip("|").split("|"):
                yield from _split(number, cell.strip(" -:"))
        elif stripped and not stripped.startswith("#"):
            begin = begin if paragraph else number
            paragraph.append(stripped[item.end() :] if item else stripped.removeprefix(">").strip())


def _split(line: int, text: str) -> Iterator[Sentence]:
    for part in _END.split(text.strip()):
        if re.search(r"\w", part):
            yield Sentence(line, part.strip("*_ "))


def findings(text: str) -> list[str]:
    """The sentences of a text that a rule forbids, each with its line and the advice."""
    return [
        f"line {sentence.line}: {match[0]!r} ({advice}): {sentence.text[:100]}"
        for sentence in sentences(text)
        for rule, advice in _RULES
        if (match := rule.search(sentence.text))
    ]


def long_sentences(text: str) -> list[Sentence]:
    """The sentences with more than ``MAX_WORDS`` words."""
    return [sentence for sentence in sentences(text) if sentence.words > MAX_WORDS]


def main(paths: list[Path]) -> int:
    total = count = found = 0
    for path in paths:
        text = path.read_text("utf-8")
        forbidden, long = findings(text), long_sentences(text)
        name = path.resolve().relative_to(ROOT)
        for line in forbidden:
            print(f"{name}: {line}")
        for sentence in long:
            print(f"{name}: line {sentence.line}: {sentence.words} words: {sentence.text[:100]}")
        found += len(forbidden)
        count += len(long)
        total += sum(1 for _ in sentences(text))
    print(f"{found} findings; {count} of {total} sentences have more than {MAX_WORDS} words")
    return found > 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or page_paths()))
