"""Values that do not fit, as errors that name them; and values for people, without secrets."""

from __future__ import annotations

from typing import Any, Final

from gearmesh.config.kinds import Kind
from gearmesh.config.table import SETTINGS, Setting
from gearmesh.errors import ConfigError
from gearmesh.urls import redact, redact_text

__all__ = ["COMMAND_LINE", "KEYWORD", "check", "check_all", "shown", "shown_unknown", "wrong"]

#: The origin of settings that code passes to App or Config.
KEYWORD: Final = "code"
#: The origin of settings that an option of a command gives.
COMMAND_LINE: Final = "command line"
_MASK: Final = "***"
#: What a key that nobody knows is taken for a secret by.
_SECRET_WORDS: Final = ("pass", "secret", "token", "credential")


def shown(setting: Setting, value: Any) -> str:
    """A setting's value for people."""
    if setting.secret:
        return repr(_MASK) if value else repr(value)
    if setting.role and value is not None and value != "":
        # Something else than text where a URL belongs may hold a password in any shape.
        return repr(redact(value)) if isinstance(value, str) else f"a {type(value).__name__}"
    return "a NoneType" if setting.role and value is None else repr(value)


def shown_unknown(key: str, value: Any, *, secret: bool = False) -> str:
    """The value of a key that nobody knows: it may be a password under a misspelt name."""
    text = redact_text(repr(value))
    if secret or any(word in key.lower() or word in text.lower() for word in _SECRET_WORDS):
        return repr(_MASK)
    return text if len(text) <= 80 else text[:79] + "…"


def check(setting: Setting, value: Any) -> None:
    """Raises ConfigError, naming the setting, its value and what was expected, if the value does not fit."""
    if not setting.kind.fits(value):
        raise wrong(setting, value, setting.kind)


def check_all(holder: object, section: str = "") -> None:
    """:func:`check` for all settings of a Config, or of one of its sections."""
    for setting in SETTINGS.values():
        place, _, name = setting.path.rpartition(".")
        if place == section:
            check(setting, getattr(holder, name))


def wrong(setting: Setting, value: Any, kind: Kind, called: str = "", origin: str = "") -> ConfigError:
    """The error of a value that does not fit.

    Args:
        setting: which.
        value: of it.
        kind: what was expected.
        called: the name it was given by; ``""``: its path.
        origin: where it comes from; ``""`` says nothing of it.
    """
    place = f"{origin}: " if origin not in ("", COMMAND_LINE, KEYWORD) else ""
    return ConfigError(
        f"{place}{called or setting.path} is {shown(setting, value)}, expected {kind.expected}"
    )
