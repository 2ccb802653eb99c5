"""Commands and options that a Celery user types: one sentence names gearmesh's word."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gearmesh.cli import main
from gearmesh.cli.root import CELERY_COMMANDS, CELERY_OPTIONS
from gearmesh.cli.worker import CELERY_POOLS


def refused(*words: str) -> str:
    """The error of a command that is used wrongly, on one line."""
    done = CliRunner().invoke(main, words, env={"COLUMNS": "300"})
    assert done.exit_code == 2, done.output
    return done.output.splitlines()[-1]


@pytest.mark.parametrize("name", CELERY_COMMANDS)
def test_a_command(name: str) -> None:
    assert refused(name) == f"Error: No such command {name!r}. Use {CELERY_COMMANDS[name]}."


@pytest.mark.parametrize(
    ("command", "option", "hint"),
    [(command, option, hint) for command, hints in CELERY_OPTIONS.items() for option, hint in hints.items()],
)
def test_an_option(command: str, option: str, hint: str) -> None:
    assert refused(command, option) == f"Error: No such option {option!r}: {hint}."


def test_options_with_a_value_behind_them() -> None:
    for words in (("-Pprefork",), ("-P", "prefork")):
        assert refused("worker", "shop", *words).startswith("Error: No such option '-P': use --pool")
    assert "'gearmesh workers grow N'" in refused("worker", "shop", "--autoscale=10,3")


@pytest.mark.parametrize("pool", CELERY_POOLS)
def test_a_pool(pool: str) -> None:
    assert refused("worker", "shop", "--pool", pool) == (
        f"Error: Invalid value for '--pool': {pool!r} is not one of 'threads', 'asyncio', 'processes'. "
        f"Use {CELERY_POOLS[pool]}."
    )


def test_an_option_that_celery_has_not_either() -> None:
    assert refused("worker", "shop", "-Z") == "Error: No such option '-Z'."
    assert refused("worker", "shop", "--pool", "threds").endswith("'asyncio', 'processes'.")
    assert refused("worker", "shop", "--autoreloa") == (
        "Error: No such option '--autoreloa'. Did you mean '--autoreload'?"
    )
