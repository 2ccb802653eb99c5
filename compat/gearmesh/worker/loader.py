"""Find the app that ``MODULE:APP`` names."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import sys
import traceback

from gearmesh.app.app import App
from gearmesh.config import Config
from gearmesh.config.layers import using_file
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.logs import set_level
from gearmesh.worker.options import WorkerOptions

__all__ = ["AppImportError", "load_app", "load_for"]


class AppImportError(ConfigError):
    """The user's module raised an exception while it was imported.

    The message is that exception's traceback, from the module's first frame on.
    """

    def __init__(self, spec: str, error: Exception) -> None:
        trace = error.__traceback__
        while trace is not None and _is_machinery_of_imports(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        shown = "".join(traceback.format_exception(type(error), error, trace, chain=False)).rstrip()
        super().__init__(f"app {spec!r} cannot be imported:\n{shown}")


def _enable_loggers() -> None:
    """Let gearmesh's loggers log again after ``logging.config.dictConfig`` in the user's module.

    By its default it disables all loggers that exist, those of the worker that imports the module among them.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and (name == "gearmesh" or name.startswith("gearmesh.")):
            logger.disabled = False


def _is_machinery_of_imports(file: str) -> bool:
    return file == __file__ or file.startswith("<frozen importlib") or file == importlib.__file__


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
        ConfigError: the module or the name is not there, or is no App.
        AppImportError: the module raised an exception while it was imported.
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
    except GearmeshError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            raise ConfigError(
                f"app {spec!r}: there is no module {missing!r} in {here} or on the path"
            ) from None
        raise AppImportError(spec, error) from error
    _enable_loggers()
    for part in name.split("."):
        if not hasattr(found, part):
            apps = [key for key, value in vars(found).items() if isinstance(value, App)]
            hint = f"; it has {', '.join(sorted(apps))}" if apps else ""
            raise ConfigError(f"app {spec!r}: module {module_name!r} has no {part!r}{hint}")
        found = getattr(found, part)
    if not isinstance(found, App):
        raise ConfigError(f"app {spec!r} is a {type(found).__name__}, expected a gearmesh App")
    if file is not None:
        found.config = found.config.under(file)
    return found
