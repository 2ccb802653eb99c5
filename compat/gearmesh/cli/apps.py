"""Reads ``MODULE:APP`` from a command line, as an argument or with ``-A``, and completes it in a shell."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["app_argument", "app_option", "chosen_app", "complete_app", "first_word_is_app", "words"]

_SPEC: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_MODULE: Final = re.compile(r"[^\W\d][\w.]*")
#: Matches the usual line that makes an app in a module: not indented, with or without an annotation.
_MAKES_APP: Final = re.compile(r"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?App\(", re.MULTILINE)
#: Bounds of a search for apps: files, depth of folders, and bytes of a file. The user waits for the completion.
MAX_COMPLETION_ENTRIES: Final = 2000
MAX_COMPLETION_DEPTH: Final = 4
MAX_MODULE_BYTES: Final = 200_000


def complete_app(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """List the apps below the working directory that begin with ``incomplete``, without importing their modules."""
    return sorted(each for each in _apps(Path.cwd()) if each.startswith(incomplete))


def _apps(here: Path) -> Iterator[str]:
    seen = 0
    for folder, folders, names in os.walk(here):
        package = Path(folder).relative_to(here).parts
        deeper = len(package) < MAX_COMPLETION_DEPTH
        # os.walk reads the folders that stay in this list, in this order. Virtual environments are left out.
        folders[:] = [
            name
            for name in sorted(folders)
            if deeper and name.isidentifier() and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        for path in (Path(folder, name) for name in sorted(names)):
            seen += 1
            if seen > MAX_COMPLETION_ENTRIES:
                return
            if path.suffix == ".py" and path.stem.isidentifier() and path.stat().st_size <= MAX_MODULE_BYTES:
                module = ".".join(package if path.stem == "__init__" else (*package, path.stem))
                text = path.read_text("utf-8", errors="replace")
                yield from (f"{module}:{app}" for app in _MAKES_APP.findall(text))


def app_option(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``-A``; the command gets its value as ``spec``."""
    return click.option("-A", "--app", "spec", metavar="MODULE:APP", help=help, shell_complete=complete_app)


def chosen_app(*specs: str | None) -> str | None:
    """The app that the user named in ``specs``, or with ``-A`` before the command; None if the user named none.

    Raises:
        click.UsageError: the user named two different apps.
    """
    before = click.get_current_context().find_root().params.get("spec")
    typed = {spec if ":" in spec else f"{spec}:app": spec for spec in (*specs, before) if spec}
    if len(typed) > 1:
        raise click.UsageError(f"the app is {' and '.join(map(repr, typed.values()))}: give one of them")
    return next(iter(typed.values()), None)


def app_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``MODULE:APP`` as an argument and as ``-A``; the command gets it as ``app``."""

    @wraps(command)
    def collected(*args: Any, app: str | None, spec: str | None, **given: Any) -> Any:
        chosen = chosen_app(app, spec)
        if chosen is None:
            raise click.UsageError("no app: give MODULE:APP, such as shop.tasks:app")
        return command(*args, app=chosen, **given)

    argument = click.argument("app", required=False, metavar="[MODULE:APP]", shell_complete=complete_app)
    return argument(app_option("The app, in place of the argument; APP is 'app' if left out.")(collected))


def first_word_is_app(words: Sequence[str], *, module_is_enough: bool = False) -> bool:
    """True if the first word has the form MODULE:APP, and the module exists and is not Python's own.

    ``module_is_enough``: True if the word may be the MODULE alone, as with ``-A``.
    """
    word = words[0]
    if not _SPEC.fullmatch(word) and not (module_is_enough and _MODULE.fullmatch(word)):
        return False
    module = word.partition(":")[0].partition(".")[0]
    return (
        module not in sys.stdlib_module_names
        and PathFinder.find_spec(module, [os.getcwd(), *sys.path]) is not None
    )


def words(
    name: str | None,
    metavar: str = "",
    *,
    least: int = 0,
    most: int | None = None,
    has_app: Callable[[Sequence[str]], bool] = first_word_is_app,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a command's arguments. MODULE:APP may come before them, and means the same as ``-A``.

    The decorator must stand directly above ``servers``, whose ``spec`` it sets.

    Args:
        name: the parameter that gets the arguments as a tuple; None: the command takes no argument but the app.
        metavar: the names of the arguments in the help.
        least, most: bounds of their number, without the app; None: no bound.
        has_app: returns True if the first word is the app; it gets one word or more.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def collected(*args: Any, **given: Any) -> Any:
            said = list(given.pop(name or "words"))
            # If the number of arguments is fixed, one word more can only be the app.
            surplus = least == most and len(said) == least + 1
            if said and (has_app(said) or (surplus and first_word_is_app(said, module_is_enough=True))):
                given["spec"] = chosen_app(said.pop(0), given["spec"])
            if len(said) < least:
                raise click.UsageError(f"Missing argument '{metavar}'.")
            if most is not None and len(said) > most:
                extra = " ".join(said[most:])
                raise click.UsageError(f"Got unexpected extra argument ({extra})")
            if name is not None:
                given[name] = tuple(said)
            return command(*args, **given)

        shown = f"[MODULE:APP] {metavar}".rstrip()
        return click.argument(name or "words", nargs=-1, metavar=shown, shell_complete=complete_app)(
            collected
        )

    return decorate
