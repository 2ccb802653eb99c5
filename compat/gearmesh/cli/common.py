"""Options that several commands share, and the servers that they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple

import click

from gearmesh.app.app import App
from gearmesh.cli.apps import app_option, chosen_app
from gearmesh.cli.options import (
    as_table,
    backend_option,
    broker_option,
    config_file,
    decorators,
    limit_option,
    queue_argument,
)
from gearmesh.cli.output import note
from gearmesh.config import Config
from gearmesh.config.checks import COMMAND_LINE, KEYWORD
from gearmesh.config.config import Source
from gearmesh.config.file import chosen_file, from_file
from gearmesh.config.values import ignored_hint
from gearmesh.errors import ConfigError
from gearmesh.urls import scheme_of
from gearmesh.worker.loader import load_app

__all__ = [
    "Place",
    "listing_options",
    "need_results",
    "need_server",
    "origin_of",
    "results_servers",
    "servers",
]


_queue = click.option("--queue", metavar="NAME", help="Queue; default: the app's. [DEFAULT_QUEUE]")
_app = app_option("Use the settings of this app; APP is 'app' if left out.")
#: Settings that name the places of messages, results and locks.
_SERVERS: Final = ("broker", "backend", "lock", "default_queue")
_NOWHERE: Final = "--config FILE; or run gearmesh dev in this folder"


class Place(NamedTuple):
    """Names servers by the options of a command; None for each option that the user did not give.

    ``spec`` names an app whose settings are used, ``config`` a file of settings. An option on the command line wins
    over the app's code, the code over the environment, and the environment over a file. A file that the user gives with
    ``config`` wins over the app's code, too.
    """

    spec: str | None = None
    broker: str | None = None
    backend: str | None = None
    queue: str | None = None
    config: str | None = None

    def app(self) -> App:
        """The app that the user named, or one made of options, environment, file and ``gearmesh dev``.

        Raises:
            ConfigError: no broker is named, or a setting is wrong.
        """
        if self.spec:
            app = load_app(self.spec, self.config, self._typed())
        else:
            source = _source(self.config, **self._typed())
            if "broker" not in source.said:
                raise ConfigError(
                    f"no broker: give --broker URL, -A MODULE:APP, BROKER in the environment, or {_NOWHERE}"
                    + ignored_hint(source.ignored)
                )
            app = App(config=Config.of(source))
        self._note_outvoted(app.config)
        return app

    def results_app(self) -> App:
        """Do as :meth:`app`, for commands that need a backend but no broker. Raises ConfigError."""
        typed = self._typed()
        if self.spec:
            app = load_app(self.spec, self.config, typed, needs_broker=False)
            if app.has_broker:
                self._note_outvoted(app.config)
                return app
        said = _source(self.config, **typed).said.get("backend")
        if said is None:
            app_names_none = (
                f"app {self.spec!r} names no broker and no backend" if self.spec else "no backend"
            )
            option = "" if self.spec else " -A MODULE:APP,"
            raise ConfigError(
                f"{app_names_none}: give --backend URL,{option} RESULT_BACKEND in the environment, or {_NOWHERE}"
            )
        source = _source(self.config, **{**typed, "broker": "eager", "backend": said.value})
        app = App(config=Config.of(source))
        self._note_outvoted(app.config)
        return app

    def queues(self, named: tuple[str, ...]) -> list[str]:
        """The queues that the user named, as arguments or with ``--queue``, without repetition."""
        return list(dict.fromkeys((*named, *filter(None, [self.queue]))))

    def _typed(self) -> dict[str, str]:
        typed = {"broker": self.broker, "backend": self.backend}
        return {name: value for name, value in typed.items() if value is not None}

    def _note_outvoted(self, config: Config) -> None:
        """Print a note for each server in the file of ``--config`` that the environment replaces by another one."""
        if self.config is None:
            return
        for name, said in from_file(self.config).said.items():
            origin = config.origin(name)
            if name in _SERVERS and origin.startswith("environment") and said.value != config.value(name):
                note(
                    f"note: {name} is {config.shown(name)} ({origin}), not the one in {said.origin}", "yellow"
                )


def _source(config: str | None, **typed: str) -> Source:
    return Source.read(config or chosen_file(os.environ), None, typed, given_origin=COMMAND_LINE)


def _placed(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command one ``place`` in place of all the options that name servers."""

    @wraps(command)
    def collected(*args: Any, **given: Any) -> Any:
        said = {name: given.pop(name) for name in Place._fields if name in given}
        said["spec"] = chosen_app(said.get("spec"))
        return command(*args, place=Place(**said), **given)

    return collected


#: ``-A``, ``--broker``, ``--backend``, ``--queue`` and ``--config``; the command gets them as ``place``.
servers = decorators(_app, broker_option, backend_option, _queue, config_file, _placed)
#: ``-A``, ``--backend`` and ``--config``, for commands that need no broker; the command gets them as ``place``.
results_servers = decorators(_app, backend_option, config_file, _placed)
#: The options of a command that lists the messages of one queue or of all queues.
listing_options = decorators(limit_option, as_table, queue_argument, servers)


def need_results(app: App) -> None:
    """Raise ConfigError if the app's result backend keeps no results."""
    if not app.keeps_results:
        raise ConfigError(
            f"backend {app.masked_backend!r} ({origin_of(app, 'backend')}) keeps no results: give --backend URL"
        )


def origin_of(app: App, setting: str) -> str:
    """The origin of a setting's value, for people: ``the app's code``, ``environment BROKER``."""
    origin = app.config.origin(setting)
    return {KEYWORD: "the app's code", COMMAND_LINE: "the command line"}.get(origin, origin)


def need_server(app: App, role: str) -> None:
    """Refuse a broker that lives inside one process, for a command that starts other processes.

    Raises:
        ConfigError: no other process can reach the messages of this broker.
    """
    reason = {
        "eager": f"runs each task in the process that sends it: a {role} has nothing to do. Give another broker",
        "memory": "keeps messages in the memory of one process: no other process can reach them, so a "
        f"{role} cannot use it. Give a broker such as redis://localhost:6379/0",
    }.get(scheme_of(app.config.brokers[0]))
    if reason:
        raise ConfigError(f"broker {app.masked_broker} {reason}; this one is from {origin_of(app, 'broker')}")
