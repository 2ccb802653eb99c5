"""Reads typed arguments from the command line: ``int64:1``, ``string:x``, ``[]int64:[1,2]``, ``[]byte:aGk=``."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any

import click

from gearmesh.cli.apps import first_word_is_app
from gearmesh.errors import LocalProtocolError
from gearmesh.results.async_result import Typed
from gearmesh.wire import types

__all__ = ["app_before_name", "read_typed", "typed_arguments"]


def read_typed(text: str) -> Typed:
    """Read ``type:value``: slices as JSON, bytes as base64, all other values as plain text.

    Raises:
        ValueError: the type is not one of Go's, or the value does not have the form that its type needs.
        LocalProtocolError: the type cannot hold the value.
    """
    name, colon, raw = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} has no type, expected TYPE:VALUE such as int64:1 or string:{text}")
    if name not in types.TYPES:
        raise ValueError(f"unknown type {name!r}, expected one of {', '.join(sorted(types.TYPES))}")
    value = _read(name, raw)
    types.dump(name, value)  # refuses a value that the type cannot hold
    return Typed(name, value)


def _read(name: str, raw: str) -> Any:
    if name in ("[]byte", "[]uint8"):
        try:
            return base64.b64decode(raw, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name}: expected base64 such as aGk=, got {raw!r} ({error})") from None
    if name.startswith("[]"):
        return _read_list(name, raw)
    if name == "string":
        return raw
    if name == "bool":
        if raw not in ("true", "false"):
            raise ValueError(f"bool: expected true or false, got {raw!r}")
        return raw == "true"
    if name.startswith("float"):
        try:
            return float(raw)
        except ValueError:
            raise ValueError(f"{name}: expected a number such as 1.5, got {raw!r}") from None
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", raw):
        raise ValueError(f"{name}: expected a whole number such as 42, got {raw!r}")
    return int(raw)


def _read_list(name: str, raw: str) -> list[Any]:
    if name == "[]string":
        example = '["a","b"]'
    elif name == "[]bool":
        example = "[true,false]"
    else:
        example = "[1.5,2]" if name.startswith("[]float") else "[1,2]"
    expected = f"{name}: expected a JSON array such as {example}, got {raw!r}"
    try:
        values = json.loads(raw, parse_constant=_refuse)
    except ValueError as error:
        raise ValueError(f"{expected} ({error})") from None
    if not isinstance(values, list):
        raise ValueError(expected)
    if name.startswith("[]float"):
        return [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
    return values


def _refuse(word: str) -> Any:
    raise ValueError(f"JSON has no {word}")


def typed_arguments(words: Sequence[str]) -> tuple[Typed, ...]:
    """Read several typed arguments. Raises click.BadParameter."""
    try:
        return tuple(map(read_typed, words))
    except (ValueError, LocalProtocolError) as error:
        raise click.BadParameter(str(error), param_hint="'TYPE:VALUE'") from None


def app_before_name(words: Sequence[str]) -> bool:
    """True if the words are MODULE:APP, the name of a task, and its arguments.

    A task's name may have the form of MODULE:APP. The second word decides: if it has a type, it is an argument, and the
    first word is the task.
    """
    return len(words) > 1 and words[1].partition(":")[0] not in types.TYPES and first_word_is_app(words)
