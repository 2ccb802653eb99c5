"""Find the app that ``MODULE:APP`` names."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys

from gearmesh.app.app import App
from gearmesh.config import Config
from gearmesh.config.layers import using_file
from gearmesh.errors import ConfigError
from gearmesh.logs import set_level
from gearmesh.worker.options import WorkerOptions

__all__ = ["load_app", "load_for"]


def load_for(spec: str, options: WorkerOptions, *, tell: bool = True) -> App:
    """The app that a worker's process runs, with the settings that its options say; logging as they say, too.

    Args:
        spec: see :func:`load_app`.
        options: of the worker.
        tell: False leaves it to another process to log what changes in a file that is watched.

    Raises:
        ConfigError: as :func:`load_app`.
    """
    app = load_app(spec, options.config)
    if options.lease is not None:
        app.config = dataclasses.replace(app.config, lease=options.lease)

    def follow(config: Config) -> None:
        if options.log_level is None:
            set_level(config.log_level or "INFO")

    if app.config.log_level:
        follow(app.config)
    if options.watch or app.config.watched:
        app.watch_config(follow, tell=tell)
    return app


def load_app(spec: str, file: str | None = None) -> App:
    """Import ``package.module:name`` (the working directory is looked in too) and return the App.

    ``name`` may have dots; left out, it is ``app``.

    Args:
        spec: what to import.
        file: a YAML file for the app: where its own code names no broker, the settings are loaded from it
            and the environment; else what it says wins over what the code says. None: there is none.

    Raises:
        ConfigError: the module or the name is not there, or is no App. What the module itself
            raises while it is imported goes through.
    """
    module_name, _, name = spec.partition(":")
    name = name or "app"
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise ConfigError(f"app is {spec!r}, expected MODULE:APP such as shop.tasks:app")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with using_file(file):
            found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that the app's own module misses is the app's error, with its traceback.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"app {spec!r}: there is no module {error.name!r} in {here} or on the path"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            apps = [key for key, value in vars(found).items() if isinstance(value, App)]
            hint = f"; it has {', '.join(sorted(apps))}" if apps else ""
            raise ConfigError(f"app {spec!r}: module {module_name!r} has no {part!r}{hint}")
        found = getattr(found, part)
    if not isinstance(found, App):
        raise ConfigError(f"app {spec!r} is a {type(found).__name__}, expected a gearmesh App")
    found.config = found.config.under(file)
    return found
