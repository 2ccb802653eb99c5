"""Find the app that ``MODULE:APP`` names."""

from __future__ import annotations

import importlib
import os
import sys

from gearmesh.app.app import App
from gearmesh.errors import ConfigError

__all__ = ["load_app"]


def load_app(spec: str) -> App:
    """Import ``package.module:name`` (the working directory is looked in too) and return the App.

    ``name`` may have dots; left out, it is ``app``.

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
    return found
