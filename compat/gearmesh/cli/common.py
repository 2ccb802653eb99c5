"""Options and steps that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

from gearmesh.app.app import App
from gearmesh.errors import ConfigError
from gearmesh.worker.loader import load_app

__all__ = ["app_of", "console", "need_results", "servers"]

F = TypeVar("F", bound=Callable[..., Any])


def servers(command: F) -> F:
    """Add ``-A``, ``--broker``, ``--backend`` and ``--queue``; the environment names are Machinery's."""
    for option in (
        click.option(
            "--queue",
            metavar="NAME",
            envvar="DEFAULT_QUEUE",
            help="Queue; default: the app's. [DEFAULT_QUEUE]",
        ),
        click.option(
            "--backend", metavar="URL", envvar="RESULT_BACKEND", help="Where results live. [RESULT_BACKEND]"
        ),
        click.option("--broker", metavar="URL", envvar="BROKER", help="Where tasks wait. [BROKER]"),
        click.option("-A", "--app", "spec", metavar="MODULE:APP", help="Take both from this app."),
    ):
        command = option(command)
    return command


def app_of(spec: str | None, broker: str | None, backend: str | None) -> App:
    """The app that ``-A`` names, or one made of URLs. Raises ConfigError if there is neither."""
    if spec:
        return load_app(spec)
    if not broker:
        raise ConfigError("no broker: give --broker URL, -A MODULE:APP, or BROKER in the environment")
    return App(broker=broker, backend=backend or "null")


def need_results(app: App) -> None:
    """Raises ConfigError if the app's backend keeps nothing."""
    if not app.keeps_results:
        raise ConfigError(
            f"backend {app.backend_shown!r} keeps no results: "
            "give --backend URL, -A MODULE:APP, or RESULT_BACKEND in the environment"
        )


def console(*, stderr: bool = False) -> Console:
    """A console that guesses nothing: no highlighting of numbers, no markup, no emoji in data."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
