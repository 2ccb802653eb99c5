"""The glossary and the state machines name classes, functions and files; each of them is in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.support.pages import page_path

import gearmesh

PACKAGE = Path(gearmesh.__file__).parent
PAGES = ("glossary.md", "state_machines.md")
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
