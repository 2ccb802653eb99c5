"""``gearmesh`` imports its public names when they are used, and the command line starts without them."""

from __future__ import annotations

import ast
import pickle
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gearmesh

#: Public names by the modules that the table in ``gearmesh/__init__.py`` names.
TABLE: dict[str, str] = vars(gearmesh)["_MODULE_OF"]


def test_the_table_and_the_names_for_checkers_are_the_same() -> None:
    tree = ast.parse(Path(gearmesh.__file__).read_text())
    for_checkers = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_checkers == TABLE
    assert sorted([*TABLE, "__version__"]) == sorted(gearmesh.__all__)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_each_name_is_its_module_s(name: str) -> None:
    assert getattr(gearmesh, name) is getattr(import_module(TABLE[name]), name)


def test_no_name_is_a_module_s_too() -> None:
    """Importing ``gearmesh.task``, if there were one, would replace the public ``task``."""
    modules = {module.name for module in pkgutil.iter_modules(gearmesh.__path__)}
    assert modules & set(gearmesh.__all__) == set()


def test_a_new_interpreter_has_all_names() -> None:
    run(
        "import gearmesh",
        "names = set(dir(gearmesh))",
        "assert {'App', 'task', '__version__', '__doc__'} <= names, names",
        "assert gearmesh.errors.TaskFailed is gearmesh.TaskFailed",
        "assert 'gearmesh.app.app' not in __import__('sys').modules",
        "namespace = {}",
        "exec('from gearmesh import *', namespace)",
        "assert set(gearmesh.__all__) <= set(namespace), set(gearmesh.__all__) - set(namespace)",
        "assert not hasattr(gearmesh, 'tsak')",
    )


def test_an_error_can_be_pickled() -> None:
    assert type(pickle.loads(pickle.dumps(gearmesh.ConfigError("x")))) is gearmesh.ConfigError


def test_the_way_to_a_worker_s_first_process_is_short() -> None:
    """Each import before the supervisor has started the process delays the start of a worker."""
    loaded = run("import gearmesh.cli.root, gearmesh.cli.worker, gearmesh.worker.startup", *PRINT_MODULES)
    assert "gearmesh.worker.startup" in loaded
    packages = {name.partition(".")[0] for name in loaded}
    assert packages & {"amqp", "asyncio", "kombu", "redis", "rich", "ssl", "yaml"} == set()
    assert {name for name in loaded if name.startswith(("gearmesh.app", "gearmesh.config"))} == set()


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        ("gearmesh ", {"apps", "exit_codes", "root"}),
        ("gearmesh worker --", {"apps", "exit_codes", "options", "root", "worker"}),
    ],
)
def test_completion_imports_little(words: str, loaded: set[str]) -> None:
    variables = {
        "_GEARMESH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    found = run(
        f"import os; os.environ.update({variables})",
        "from gearmesh.cli import main",
        "try: main(prog_name='gearmesh')",
        "except SystemExit: pass",
        *PRINT_MODULES,
    )
    assert "plain,worker" in found or "plain,--concurrency" in found
    assert {
        name.removeprefix("gearmesh.cli.") for name in found if name.startswith("gearmesh.cli.")
    } == loaded


def test_help_imports_no_command() -> None:
    found = run(
        "from gearmesh.cli import main",
        "try: main(['--help'])",
        "except SystemExit: pass",
        *PRINT_MODULES,
    )
    assert {name for name in found if name.startswith("gearmesh.cli.")} == {
        "gearmesh.cli.apps",
        "gearmesh.cli.exit_codes",
        "gearmesh.cli.root",
    }


PRINT_MODULES = ("import sys", "print(*sorted(sys.modules), sep='\\n')")


def run(*lines: str) -> list[str]:
    """Run a program in a new interpreter; the lines that it prints."""
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
