"""The glossary has the words that users meet, each class has a docstring, and the pages name existing things only."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from runpy import run_path

import pytest
from tests.support.pages import ROOT, page_path

import gearmesh
from gearmesh.interfaces.transport import QueueCounts
from gearmesh.wire import state

PACKAGE = Path(gearmesh.__file__).parent
PAGES = ("names.md", "state_machines.md")
TRANSPORTS = ("redis", "amqp", "memory")


@cache
def defined() -> tuple[frozenset[str], frozenset[str]]:
    """All classes, functions and constants of the package by name, and all members as ``Class.member``."""
    names, members = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            if isinstance(node, ast.ClassDef):
                members |= {f"{node.name}.{member}" for member in _members(node)}
    return frozenset(names), frozenset(members)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield each.name
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr


def quoted(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", page_path(page).read_text()))


@pytest.mark.parametrize("page", PAGES)
def test_each_file_that_a_page_names_is_there(page: str) -> None:
    paths = {text for text in quoted(page) if re.fullmatch(r"[\w*/]+(\.(py|lua|md)|/[\w/*]+|/)", text)}
    assert paths
    missing = []
    for path in sorted(paths):
        found = [path.replace("*", each) for each in TRANSPORTS] if "*" in path else [path]
        roots = (PACKAGE, PACKAGE / "redis_client" / "lua", PACKAGE.parents[1])
        if not any((root / each).exists() for each in found for root in roots):
            missing.append(path)
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_each_class_and_function_that_a_page_names_is_there(page: str) -> None:
    names, members = defined()
    qualified = {
        text.removesuffix("()") for text in quoted(page) if re.fullmatch(r"[A-Z]\w*\.\w+(\(\))?", text)
    }
    classes = {text for text in quoted(page) if re.fullmatch(r"_?[A-Z][a-z]\w*[A-Z]\w*", text)}
    assert qualified | classes
    assert sorted(qualified - members) == []
    assert sorted(classes - names) == []


def terms() -> dict[str, str]:
    """The terms of the glossary, each with its meaning. A row may have several terms: ``acknowledge, ack``."""
    rows = [
        line.strip("|").split("|")
        for line in page_path("glossary.md").read_text("utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| term |")
    ]
    return {term.strip(): meaning.strip() for name, meaning, _ in rows for term in name.split(",")}


def test_the_glossary_is_in_alphabetical_order() -> None:
    text = page_path("glossary.md").read_text("utf-8")
    names = re.findall(r"^\| ([^|]+?) \|", text, re.MULTILINE)[1:]
    assert names == sorted(names, key=str.lower)
    assert len({name.lower() for name in names}) >= len(names) - 1  # PENDING and pending


def test_a_meaning_is_short() -> None:
    assert {term: meaning for term, meaning in terms().items() if len(meaning.split()) > 45} == {}
    assert {term for term, meaning in terms().items() if not meaning.endswith(".")} == set()


def test_the_glossary_has_the_words_that_users_meet() -> None:
    states = {
        getattr(state, name) for name in ("PENDING", "RECEIVED", "STARTED", "RETRY", "SUCCESS", "FAILURE")
    }
    # The columns of "gearmesh queues" under the names that people see.
    shown = {
        "parked": "parked message",
        "delayed": "delayed message",
        "dead": "dead letter",
        "consumers": "consumer",
        "silent": "heartbeat",
    }
    columns = {shown.get(field, field) for field in QueueCounts.__struct_fields__}
    first = page_path("what-it-is.md").read_text("utf-8").partition("## Words")[2].partition("\n## ")[0]
    words = set(re.findall(r"^\| ([^|]+?) \|", first, re.MULTILINE)) - {"word"}
    assert words
    assert (states | columns | words) - set(terms()) == set()


def test_each_class_has_a_sentence_of_its_own() -> None:
    rows = list(run_path(str(ROOT / "scripts" / "class_list.py"))["classes"]())
    assert len(rows) > 500
    count = Counter(row.sentence for row in rows)
    assert {
        f"{row.path} {row.name}": row.sentence
        for row in rows
        if len(row.sentence.split()) < 4 or row.sentence.startswith("See ") or count[row.sentence] > 1
    } == {}
