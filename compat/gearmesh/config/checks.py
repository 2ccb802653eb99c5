"""Checks values of settings, words the errors, and shows values for people without secrets."""

from __future__ import annotations

from typing import Any, Final

from gearmesh.config.table import SETTINGS, Kind, Setting
from gearmesh.errors import ConfigError
from gearmesh.urls import redact, redact_text

__all__ = ["COMMAND_LINE", "KEYWORD", "check_all", "shown", "shown_unknown", "wrong"]

#: The origin of settings that code passes to App or Config.
KEYWORD: Final = "code"
#: The origin of settings from the options of a command.
COMMAND_LINE: Final = "command line"
_MASK: Final = "***"
#: If the name of an unknown key has one of these parts, its value counts as a secret.
_SECRET_WORDS: Final = ("pass", "secret", "token", "credential")


def shown(setting: Setting, value: Any) -> str:
    """Return a setting's value for people, without secrets."""
    if setting.secret:
        return repr(_MASK) if value else repr(value)
    if setting.role and value is not None and value != "":
        # A value of another type in place of a URL may hold a password in any shape.
        return repr(redact(value)) if isinstance(value, str) else f"a {type(value).__name__}"
    return "a NoneType" if setting.role and value is None else repr(value)


def shown_unknown(key: str, value: Any, *, secret: bool = False) -> str:
    """Return the value of an unknown key for people, masked if it may be a password under a misspelt name."""
    text = redact_text(repr(value))
    if secret or any(word in key.lower() or word in text.lower() for word in _SECRET_WORDS):
        return repr(_MASK)
    return text if len(text) <= 80 else text[:79] + "…"


def check_all(holder: object, section: str = "") -> None:
    """Check all settings of a Config, or of one of its sections.

    Raises:
        ConfigError: a value is wrong; the message names the setting, its value and the expected values.
    """
    for setting in SETTINGS.values():
        place, _, name = setting.path.rpartition(".")
        if place == section and not setting.kind.fits(value := getattr(holder, name)):
            raise wrong(setting, value, setting.kind)


def wrong(setting: Setting, value: Any, kind: Kind, called: str = "", origin: str = "") -> ConfigError:
    """Return the error for a wrong value.

    Args:
        setting: the setting.
        value: its value.
        kind: the expected kind of value.
        called: the name that the user wrote; ``""``: the setting's path.
        origin: the value's origin; ``""``: the message names no origin.
    """
    place = f"{origin}: " if origin not in ("", COMMAND_LINE, KEYWORD) else ""
    return ConfigError(
        f"{place}{called or setting.path} is {shown(setting, value)}, expected {kind.expected}"
    )
