"""Find the app that ``MODULE:APP`` names."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

import gearmesh
from gearmesh.app.app import App
from gearmesh.config import Config, NoBroker
from gearmesh.config.file import using_file
from gearmesh.config.values import ignored_hint
from gearmesh.errors import ConfigError, GearmeshError
from gearmesh.logs import set_level
from gearmesh.worker.muting import muted
from gearmesh.worker.options import WorkerOptions

__all__ = ["AppImportError", "load_app", "load_for"]

#: The folders of Python's own code and of gearmesh's: their frames are not the user's.
_LIBRARIES: Final = (
    "<frozen ",
    *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")},
    str(Path(gearmesh.__file__).parent) + os.sep,
)
#: Folders that packages are installed in.
_INSTALLED: Final = ("site-packages", "dist-packages")


class AppImportError(ConfigError):
    """The user's module raised an exception while it was imported.

    The message names the exception. If it is not gearmesh's, the message also shows the frames of the user's own code.
    """

    def __init__(self, spec: str, error: BaseException) -> None:
        own = list(_own_frames(error.__traceback__, spec))
        if isinstance(error, GearmeshError):  # its text has the reason, and lacks the place
            super().__init__(f"{_place(*own[-1])}: {error}" if own else str(error))
            return
        summary = traceback.StackSummary.extract(iter(own), lookup_lines=True)
        lines = [f"app {spec!r} cannot be imported:\n", *summary.format()]
        if isinstance(error, SystemExit):
            lines.append(f"the module ended the process: SystemExit: {error.code}")
        else:
            lines += traceback.format_exception_only(type(error), error)
        super().__init__("".join(lines).rstrip())


def _own_frames(trace: TracebackType | None, spec: str) -> Iterator[tuple[FrameType, int]]:
    """Yield the user's frames, with lines: those of the app's package, even if installed, and of all other own code."""
    package = spec.partition(":")[0].partition(".")[0]
    for frame, line in traceback.walk_tb(trace):
        file = frame.f_code.co_filename
        library = file.startswith(_LIBRARIES) or any(name in Path(file).parts for name in _INSTALLED)
        if not library or str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            yield frame, line


def _place(frame: FrameType, line: int) -> str:
    file = Path(frame.f_code.co_filename)
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file} line {line}"


def _enable_loggers() -> None:
    """Let gearmesh's loggers log again after ``logging.config.dictConfig`` in the user's module.

    Its default disables all loggers that exist, also those of the worker that imports the module.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and (name == "gearmesh" or name.startswith("gearmesh.")):
            logger.disabled = False


def load_for(spec: str, options: WorkerOptions, *, tell: bool = True, quiet: bool = False) -> App:
    """Load the app for a worker's process, and apply the settings and the log level of the worker's options.

    Args:
        spec: see :func:`load_app`.
        options: the worker's options.
        tell: log changes in a watched file. False: another process does.
        quiet: drop the text that the app prints and logs during its import, because another process shows the same.

    Raises:
        ConfigError: as :func:`load_app`.
    """
    with muted() if quiet else nullcontext():
        app = load_app(spec, options.config, options.overrides)
    if options.lease is not None:
        app.config = dataclasses.replace(app.config, lease=options.lease)
    if options.remote_control is not None:
        app.config = dataclasses.replace(app.config, remote_control=options.remote_control)

    def follow(config: Config) -> None:
        if options.log_level is None:
            set_level(config.log_level or "INFO")

    if app.config.log_level:
        follow(app.config)
    if options.watch or app.config.watched:
        app.watch_config(follow, tell=tell)
    return app


def load_app(
    spec: str,
    file: str | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    needs_broker: bool = True,
) -> App:
    """Import ``package.module:name``, also from the working directory, and return the App.

    ``name`` may have dots; left out, it is ``app``.

    Args:
        spec: the app to import.
        file: a YAML file, whose values win over those that the app's code names, and which the app reads if its
            code names no broker. None: no file.
        overrides: settings that win over everything else, as options on the command line do.
        needs_broker: False accepts an app for which no broker is configured.

    Raises:
        ConfigError: the module or the name is not there, the name is no App, or no broker is configured for it.
        AppImportError: the module raised an exception while it was imported.
    """
    module_name, _, name = spec.partition(":")
    name = name or "app"
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise ConfigError(f"app is {spec!r}, expected MODULE:APP such as shop.tasks:app")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    with using_file(file):
        try:
            found = _imported(spec, module_name)
        finally:
            _enable_loggers()  # an error has to be logged, too
        for part in name.split("."):
            if not hasattr(found, part):
                apps = [
                    key for key, value in getattr(found, "__dict__", {}).items() if isinstance(value, App)
                ]
                hint = f"; it has {', '.join(sorted(apps))}" if apps else ""
                raise ConfigError(f"app {spec!r}: module {module_name!r} has no {part!r}{hint}")
            found = getattr(found, part)
        if not isinstance(found, App):
            raise ConfigError(f"app {spec!r} is of the type {type(found).__name__}, expected a gearmesh App")
        try:
            found.override(overrides or {}, file=file)
        except NoBroker as exc:
            if needs_broker:
                raise ConfigError(
                    f"app {spec!r} has no broker: name one in App(…) or in BROKER in the environment, give --broker "
                    f"URL or --config FILE, or run gearmesh dev in this folder{ignored_hint(exc.ignored)}"
                ) from None
    return found


def _imported(spec: str, module: str) -> object:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            hint = f"; do you mean {module.removesuffix('.py')}:app?" if module.endswith(".py") else ""
            raise ConfigError(
                f"app {spec!r}: there is no module {missing!r} in {os.getcwd()} or on the path{hint}"
            ) from None
        raise AppImportError(spec, error) from error
