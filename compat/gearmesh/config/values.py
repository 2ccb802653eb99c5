"""Reads the settings of one layer: values by the settings' paths, each with its origin."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gearmesh.config.checks import shown_unknown, wrong
from gearmesh.config.table import FILE_NAMES, SECTIONS, SETTINGS, Name, Setting
from gearmesh.config.typos import meant
from gearmesh.errors import ConfigError

__all__ = [
    "Said",
    "from_environment",
    "from_mapping",
    "ignored_hint",
    "note_idle",
    "note_ignored",
    "take",
    "unknown",
]

log = logging.getLogger("gearmesh.config")


class Said(NamedTuple):
    """A setting's value and its origin: ``environment BROKER``, ``config.yml line 3``, ``code``."""

    value: Any
    origin: str

    def __repr__(self) -> str:
        return f"<Said {self.origin}>"  # the value may be a secret


def take(into: dict[str, Said], setting: Setting, name: Name, value: Any, origin: str, called: str) -> None:
    """Add the value that stands under one of a setting's names.

    Raises:
        ConfigError: the value is wrong, or the setting already has a value under another of its names.
    """
    if not name.kind.fits(value):
        raise wrong(setting, value, name.kind, called, origin)
    if name.read is not None:
        value = name.read(value)
        if value is None:
            return
    if (before := into.get(setting.path)) is not None:
        raise ConfigError(
            f"{origin}: {called} was already set by another name ({before.origin}), expected only one of them"
        )
    into[setting.path] = Said(value, origin)


def from_environment(env: Mapping[str, str]) -> dict[str, Said]:
    """Read the environment. An empty variable counts as not set.

    Raises:
        ConfigError: the message names the variable, its value and the expected values.
    """
    found: dict[str, Said] = {}
    for setting in SETTINGS.values():
        for name in setting.names:
            text = env.get(name.env, "") if name.env else ""
            if not text:
                continue
            origin = f"environment {name.env}"
            try:
                value = name.kind.parse(text)
            except (ValueError, KeyError):
                raise wrong(setting, text, name.kind, name.env, "environment") from None
            if not name.kind.fits(value):
                raise wrong(setting, text, name.kind, name.env, "environment")
            take(found, setting, name, value, origin, name.env)
    return found


def from_mapping(given: Mapping[str, Any], origin: str) -> dict[str, Said]:
    """Read settings by name; None sets nothing.

    A section is a mapping, or an instance of the section's class, which sets all its settings.

    Raises:
        ConfigError: the message names the setting, its value and the expected values.
    """
    found: dict[str, Said] = {}
    for key, value in given.items():
        if value is None and (key in FILE_NAMES or key in SECTIONS):
            continue
        if key not in SECTIONS:
            _one(found, key, value, origin)
        elif isinstance(value, Mapping):
            for inner, each in value.items():
                _one(found, f"{key}.{inner}", each, origin)
        elif hasattr(value, "__dataclass_fields__"):
            for inner in value.__dataclass_fields__:
                if f"{key}.{inner}" in SETTINGS:
                    found[f"{key}.{inner}"] = Said(getattr(value, inner), origin)
        else:
            raise ConfigError(f"{key} is a {type(value).__name__}, expected a mapping of its settings")
    return found


def _one(found: dict[str, Said], key: str, value: Any, origin: str) -> None:
    if key not in FILE_NAMES:
        raise unknown(key, value, "")
    setting, name = FILE_NAMES[key]
    take(found, setting, name, value, origin, key)


def unknown(key: str, value: Any, origin: str) -> ConfigError:
    """Return the error for a key that is not the name of a setting."""
    section, dot, _ = key.rpartition(".")
    known = sorted(
        name.removeprefix(section + dot) for name in FILE_NAMES if name.rpartition(".")[0] == section
    )
    if not section:
        known = sorted({*known, *SECTIONS})
    near = meant(key)
    place = f"{origin}: " if origin else ""
    secret = near is not None and near in FILE_NAMES and FILE_NAMES[near][0].secret
    text = f"{place}unknown setting {key!r} ({shown_unknown(key, value, secret=secret)})"
    if near is not None:
        return ConfigError(f"{text}; did you mean {near!r}?")
    return ConfigError(f"{text}, expected one of {', '.join(known)}")


def note_ignored(ignored: Sequence[str]) -> None:
    """Log a warning for names that are not settings, since their author expects an effect."""
    if ignored:
        log.warning("%s", _ignored_names(ignored))


def ignored_hint(ignored: Sequence[str]) -> str:
    """Return the end of a message about a missing setting: one of these names may be that setting, misspelt."""
    return f"; {_ignored_names(ignored)}" if ignored else ""


def _ignored_names(ignored: Sequence[str]) -> str:
    return f"gearmesh ignores these names, which are not settings: {', '.join(ignored)}"


def note_idle(said: Mapping[str, Said]) -> None:
    """Log the settings that are set but have no effect in gearmesh."""
    idle = [f"{path} ({each.origin})" for path, each in said.items() if SETTINGS[path].idle]
    if idle:
        log.info("these settings of Machinery have no effect in gearmesh: %s", ", ".join(idle))
