"""Finds phrases to read twice in the comments, docstrings and names of tests of Python files.

The rules are those of :mod:`tests.support.prose` for pages, and a few more: most sentences of code are short, so a noun
clause in the place of a name stands out less than on a page. ``tests/unit/test_prose.py`` fails on findings.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

from tests.support.prose import RULES, Sentence

__all__ = ["code_findings"]

#: Patterns that fail in code, besides those of pages, each with its advice.
CODE_RULES: Final = {
    r"(?:^|[.;:,(] )[Ww]hat\b(?!:)(?!.*\?)": "name the thing in place of the noun clause",
    r"(?:^|[.;:(] )[Ww]ho\b(?!.*\?)": "name the actor in place of the noun clause",
    r"(?i)\b(?:as|behind|by|for|from|in|is|of|or|than|through|to|was|with) what\b": "name the thing",
    r"(?i)\b(?:for|of|one|to) who\b": "name the actor",
}
_RULES: Final = [(re.compile(pattern), advice) for pattern, advice in {**RULES, **CODE_RULES}.items()]
#: Phrases that are plain, though a rule would find them.
_PLAIN: Final = re.compile(r"(?i)\bthere (?:is|are) (?:no|none)\b")
#: A test's name says the promise, with its actor, and names the thing. "A user who ..." names its actor.
_CLAUSE_NAME: Final = re.compile(r"test_(?:(?:what|whatever|who|whoever)_|\w+_what_)")
_CODE: Final = re.compile(r"``[^`]+``|`[^`]+`")
_PARAGRAPH: Final = re.compile(r"\n\s*\n|\n(?=\s+\S+: )|\n(?=\s*[-*] )")
_END: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"])")


def code_findings(source: str) -> list[str]:
    """The sentences of a Python file's comments and docstrings, and the names of its tests, that a rule forbids.

    Each comes with its line and an advice.
    """
    sentences = [
        f"line {line}: {match[0]!r} ({advice}): {sentence[:100]}"
        for line, text in [*_comments(source), *_docstrings(source)]
        for sentence in _END.split(_PLAIN.sub("PLAIN", _CODE.sub("CODE", text)))
        for rule, advice in _RULES
        if (match := rule.search(sentence))
    ]
    names = [
        f"line {node.lineno}: {node.name!r} (name the actor and the promise)"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _CLAUSE_NAME.match(node.name)
    ]
    return sentences + names


def _comments(source: str) -> Iterator[Sentence]:
    """Each comment; comments on lines of their own that follow each other are one."""
    lines = source.splitlines()
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        alone = lines[line - 1].lstrip().startswith("#")
        if block and not (alone and line == last + 1):
            yield Sentence(first, " ".join(block))
            block = []
        first = first if block else line
        block.append(token.string.lstrip("#: "))
        last = line if alone else 0
    if block:
        yield Sentence(first, " ".join(block))


def _docstrings(source: str) -> Iterator[Sentence]:
    """Each paragraph of the docstrings, with the first line of its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for paragraph in _PARAGRAPH.split(ast.get_docstring(node) or ""):
                if paragraph.strip():
                    yield Sentence(node.body[0].lineno, " ".join(paragraph.split()))
