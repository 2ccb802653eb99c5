"""Prints for people and for scripts: in the terminal's width, in colours, as JSON, and notes on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "note", "print_json", "terminal_width"]

#: Columns of a console that is not a terminal: no line is broken there.
UNLIMITED_WIDTH_CHARS: Final = 1_000_000
#: Columns of a terminal that does not report its width.
DEFAULT_WIDTH_CHARS: Final = 80


def terminal_width(*, stderr: bool = False) -> int | None:
    """The columns of the terminal at standard output (or standard error); None if that is a pipe or a file.

    The variable COLUMNS wins over the size that the terminal reports.
    """
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH_CHARS
    except OSError:
        return DEFAULT_WIDTH_CHARS


def console(*, stderr: bool = False) -> Console:
    """Make a rich console for standard output (or standard error) that prints data unchanged.

    It highlights no numbers and reads no markup and no emoji codes. It prints colours on a terminal only, and only if
    NO_COLOR is not set. In a pipe it breaks no line.
    """
    from rich.console import Console  # imported late, because a worker's process does not need rich

    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=terminal_width(stderr=stderr) or UNLIMITED_WIDTH_CHARS,
    )


def note(text: str, style: str = "") -> None:
    """Print a line for people to standard error, so that standard output has data only."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def print_json(value: Any, enc_hook: Callable[[Any], Any] | None = None) -> None:
    """Print a value as one JSON document for scripts; ``enc_hook`` is msgspec's."""
    click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=enc_hook), indent=2).decode())
