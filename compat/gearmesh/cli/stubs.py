"""``gearmesh stubs``: write typed code that calls tasks of the other language."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final, cast

import click
import msgspec

from gearmesh.cli.apps import app_argument
from gearmesh.cli.options import config_file, decorators
from gearmesh.cli.output import note
from gearmesh.stubs.drift import drift
from gearmesh.stubs.go_code import Flavour, go_code
from gearmesh.stubs.go_scan import scan
from gearmesh.stubs.manifest import of_app, of_json
from gearmesh.stubs.python_code import python_code
from gearmesh.worker.loader import load_app

__all__ = ["stubs"]

_PACKAGE: Final = re.compile(r"[a-z][a-z0-9_]*")

_where = decorators(
    click.option("-o", "--output", metavar="FILE", help="Write into this file, not to standard output."),
    click.option(
        "--check",
        metavar="FILE",
        help="Write nothing; compare with this file, show the differences, and exit with 1 if there are any.",
    ),
)


@click.group()
def stubs() -> None:
    """Write typed code that calls tasks of the other language, for checking in."""


@stubs.command(short_help="Go code for the tasks of a Python app.")
@app_argument
@config_file
@click.option("--package", default="pytasks", show_default=True, help="Name of the Go package.")
@click.option(
    "--machinery",
    "flavour",
    type=click.Choice(["v2", "v1", "none"]),
    default="v2",
    show_default=True,
    help="The version of Machinery whose types the code uses; none: its own types, on the standard library alone.",
)
@_where
def go(
    app: str, config: str | None, package: str, flavour: str, output: str | None, check: str | None
) -> None:
    """Write Go code for the tasks of a Python app: for each task a struct of arguments, a function that makes the
    message, and a function that reads the results."""
    if not _PACKAGE.fullmatch(package):
        raise click.UsageError(f"package is {package!r}, expected lower case letters, such as pytasks")
    tasks = of_app(load_app(app, config, needs_broker=False))
    _write(
        go_code(tasks, source=app, package=package, flavour=cast(Flavour, flavour)),
        output,
        check,
    )


@stubs.command(short_help="Typed remotes for the tasks of a Go program.")
@click.argument("manifest", required=False, metavar="[MANIFEST]")
@click.option("--from-go", "folder", metavar="DIR", help="Read a folder of Go code with Go's own parser.")
@click.option(
    "--queue",
    metavar="NAME",
    help="Queue of the tasks for which the manifest or the Go code names none; default: the sending app's.",
)
@_where
def python(
    manifest: str | None, folder: str | None, queue: str | None, output: str | None, check: str | None
) -> None:
    """Write a Python module with typed remotes for the tasks of MANIFEST (as 'gearmesh tasks --json' prints it; - for
    standard input), or for the tasks that the Go code in DIR registers."""
    if (manifest is None) == (folder is None):
        raise click.UsageError("give a manifest, or --from-go DIR")
    if folder is not None:
        tasks, problems = scan(Path(folder))
        for problem in problems:
            note(f"{problem.at}: {problem.text}", "yellow")
        source = f"the Go code in {folder}"
    else:
        assert manifest is not None
        tasks = of_json(_read(manifest), manifest)
        source = "a manifest" if manifest == "-" else Path(manifest).name
    if queue is not None:
        tasks = [msgspec.structs.replace(task, queue=task.queue or queue) for task in tasks]
    _write(python_code(tasks, source=source), output, check)


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise click.UsageError(f"cannot read {name!r}: {exc.strerror}") from None


def _write(text: str, output: str | None, check: str | None) -> None:
    if check is not None:
        difference = drift(text, Path(check))
        for line in difference:
            click.echo(line)
        if difference:
            note(f"{check} is not up to date: write it anew with -o {check}", "yellow")
        sys.exit(bool(difference))
    if output is None:
        click.echo(text, nl=False)
    else:
        Path(output).write_text(text, "utf-8")
