"""Options and steps that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click

from gearmesh.app.app import App
from gearmesh.config import Config
from gearmesh.config.checks import COMMAND_LINE
from gearmesh.config.kinds import LEVELS
from gearmesh.config.layers import Source, chosen_file
from gearmesh.errors import ConfigError
from gearmesh.logs import FORMATS
from gearmesh.worker.loader import load_app

__all__ = [
    "Place",
    "app_argument",
    "as_json",
    "as_wide",
    "config_file",
    "logging_options",
    "need_results",
    "results_servers",
    "servers",
]

F = TypeVar("F", bound=Callable[..., Any])


#: ``--config``: the settings' file.
config_file = click.option(
    "--config",
    metavar="FILE",
    envvar="GEARMESH_CONFIG",
    help="Settings: Machinery's YAML file. [GEARMESH_CONFIG]",
)
#: ``--wide``: every column, one line a row.
as_wide = click.option("--wide", is_flag=True, help="Show all columns and whole values, one line a row.")
#: ``--json``: for scripts.
as_json = click.option("--json", is_flag=True, help="Print one JSON document, for scripts.")
_backend = click.option(
    "--backend", metavar="URL", help="Result backend; wins over the app's. [RESULT_BACKEND]"
)
_app = click.option(
    "-A",
    "--app",
    "spec",
    metavar="MODULE:APP",
    help="Use the settings of this app; APP is 'app' if left out.",
)
_NOWHERE = "--config FILE; or run gearmesh dev in this folder"


def _all(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in options:
        command = option(command)
    return command


class Place(NamedTuple):
    """The servers that a command uses, as its options name them; None: the option was not given.

    ``spec`` names an app whose settings to take, ``config`` a file of settings. An option on the command line wins over
    the app, the app over the environment and the file.
    """

    spec: str | None = None
    broker: str | None = None
    backend: str | None = None
    queue: str | None = None
    config: str | None = None

    def app(self) -> App:
        """The app that ``-A`` names, or one of what there is: options, environment, file, ``gearmesh dev``.

        Raises:
            ConfigError: there is no broker, or a setting is wrong.
        """
        if self.spec:
            return self._loaded()
        source = _source(self.config, broker=self.broker, backend=self.backend)
        if "broker" not in source.said:
            raise ConfigError(
                f"no broker: give --broker URL, -A MODULE:APP, BROKER in the environment, or {_NOWHERE}"
            )
        return App(config=Config.of(source))

    def results_app(self) -> App:
        """:meth:`app` for commands that need a backend and no broker. Raises ConfigError."""
        if self.spec:
            return self._loaded()
        said = _source(self.config, backend=self.backend).said.get("backend")
        if said is None:
            raise ConfigError(
                f"no backend: give --backend URL, -A MODULE:APP, RESULT_BACKEND in the environment, or {_NOWHERE}"
            )
        return App(config=Config.of(_source(self.config, broker="eager", backend=said.value)))

    def _loaded(self) -> App:
        app = load_app(self.spec or "", self.config)
        given = {"broker": self.broker, "backend": self.backend}
        app.config = app.config.having(
            {name: value for name, value in given.items() if value is not None}, origin=COMMAND_LINE
        )
        return app


def _source(config: str | None, **given: str | None) -> Source:
    said = {name: value for name, value in given.items() if value is not None}
    return Source.read(config or chosen_file(os.environ), None, said, given_origin=COMMAND_LINE)


def _placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one ``place`` for all the options that say where."""

    @wraps(command)
    def collected(*args: Any, **given: Any) -> Any:
        said = {name: given.pop(name) for name in Place._fields if name in given}
        return command(*args, place=Place(**said), **given)

    return collected


def servers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-A``, ``--broker``, ``--backend``, ``--queue`` and ``--config``, which the command gets as ``place``.

    Their environment variables are Machinery's.
    """
    queue = click.option(
        "--queue", metavar="NAME", envvar="DEFAULT_QUEUE", help="Queue; default: the app's. [DEFAULT_QUEUE]"
    )
    broker = click.option("--broker", metavar="URL", help="Broker; wins over the app's. [BROKER]")
    return _all(_placed(command), (config_file, queue, _backend, broker, _app))


def results_servers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-A``, ``--backend`` and ``--config``, as :func:`servers` does, for commands that need no broker."""
    return _all(_placed(command), (config_file, _backend, _app))


def app_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``MODULE:APP`` as an argument and as ``-A``, which the command gets as ``app``."""

    @wraps(command)
    def collected(*args: Any, app: str | None, spec: str | None, **given: Any) -> Any:
        if app is not None and spec is not None and app != spec:
            raise click.UsageError(f"the app is {app!r} and, by -A, {spec!r}: give one of them")
        if app is None and spec is None:
            raise click.UsageError("no app: give MODULE:APP, such as shop.tasks:app")
        return command(*args, app=app or spec, **given)

    named = click.option(
        "-A", "--app", "spec", metavar="MODULE:APP", help="The app, in place of the argument."
    )
    return click.argument("app", required=False, metavar="[MODULE:APP]")(named(collected))


def logging_options(command: F) -> F:
    """Add ``--log-level`` (None: as the settings say, else INFO) and ``--log-format``."""
    level = click.option(
        "-l",
        "--log-level",
        "--loglevel",
        type=click.Choice(LEVELS, case_sensitive=False),
        help="Lowest level to log; default: the settings', else INFO.",
    )
    form = click.option("--log-format", type=click.Choice(FORMATS), default="human", show_default=True)
    return _all(command, (form, level))


def need_results(app: App) -> None:
    """Raises ConfigError if the app's backend keeps nothing."""
    if not app.keeps_results:
        raise ConfigError(
            f"backend {app.backend_shown!r} keeps no results: "
            "give --backend URL, -A MODULE:APP, or RESULT_BACKEND in the environment"
        )
