"""Rules of CONTRIBUTING.md that a machine can check in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gearmesh
from gearmesh.config.table import SETTINGS

ROOT = Path(gearmesh.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
#: The environment variables of settings that Machinery does not have.
OWN_VARIABLES = {
    name.env for setting in SETTINGS.values() for name in setting.names if name.env.startswith("GEARMESH_")
}
#: Openings of noun clauses: such a docstring does not name its actor.
NOUN_CLAUSES = {"what", "who", "how", "which", "where", "when", "whoever", "whether"}


@pytest.fixture(scope="module", autouse=True)
def _forget_the_trees() -> Iterator[None]:
    """The trees of all modules take 90 MB, and the process of the tests has others to run."""
    yield
    parsed.cache_clear()


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports anywhere: at its top, in a function, for the type checker."""
    found = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in FILES and name != module}


def cycles() -> list[list[str]]:
    """The groups of modules that reach each other by imports (strongly connected components of two or more)."""
    graph = {module: sorted(imports(module)) for module in FILES}
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            at = path.index(module)
            component = path[at:]
            del path[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_no_modules_import_each_other() -> None:
    assert cycles() == []


@pytest.mark.parametrize("module", FILES)
def test_docstrings_name_their_actor(module: str) -> None:
    odd = []
    for node in ast.walk(parsed(module)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].rstrip(":,").lower() in NOUN_CLAUSES:
                odd.append(" ".join(words[:8]))
    assert odd == []


@pytest.mark.parametrize("module", FILES)
def test_functions_are_short_enough_to_read(module: str) -> None:
    long = {node.name: size for node in functions(module) if (size := _lines(node)) > 80}
    assert long == {}


@pytest.mark.parametrize("module", FILES)
def test_constructors_take_few_arguments_by_place(module: str) -> None:
    many = {
        f"line {node.lineno}": count
        for node in functions(module)
        if node.name == "__init__" and (count := len(node.args.posonlyargs + node.args.args) - 1) > 5
    }
    assert many == {}


@pytest.mark.parametrize("module", FILES)
def test_no_method_stands_there_for_the_type_checker_alone(module: str) -> None:
    stubs = [
        node.name
        for node in functions(module)
        if len(node.body) <= 2
        and any(isinstance(part, ast.Raise) and "NotImplementedError" in ast.dump(part) for part in node.body)
    ]
    assert stubs == []


@pytest.mark.parametrize("module", FILES)
def test_a_text_names_a_setting_by_its_path(module: str) -> None:
    """An app whose code sets ``sqs`` does not read ``GEARMESH_SQS_CREATE_QUEUES``; each app has a setting's path."""
    if module == "gearmesh.config.table":
        return
    texts = [node.value for node in ast.walk(parsed(module)) if isinstance(node, ast.Constant)]
    words = {word for text in texts if isinstance(text, str) for word in re.findall(r"GEARMESH_\w+", text)}
    assert not words & OWN_VARIABLES


def test_each_package_is_explained_where_it_begins() -> None:
    silent = [
        module
        for module, path in FILES.items()
        if path.name == "__init__.py" and len((ast.get_docstring(parsed(module)) or "").splitlines()) < 5
    ]
    assert silent == []


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
