"""Typed arguments on the command line: ``int64:1``, ``string:x``, ``[]int64:[1,2]``, ``[]byte:aGk=``."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NamedTuple

import click

from gearmesh.errors import LocalProtocolError
from gearmesh.wire import types

__all__ = ["Typed", "read_typed", "typed_arguments"]


class Typed(NamedTuple):
    """A Go type's name and a Python value that it can hold."""

    type: str
    value: Any


def read_typed(text: str) -> Typed:
    """Read ``type:value``: slices as JSON, bytes as base64, all else as it is written.

    Raises:
        ValueError: naming what was expected.
        LocalProtocolError: the value does not fit the type.
    """
    name, colon, raw = text.partition(":")
    if not colon:
        raise ValueError(f"{text!r} has no type, expected TYPE:VALUE such as int64:1 or string:{text}")
    if name not in types.TYPES:
        raise ValueError(f"unknown type {name!r}, expected one of {', '.join(sorted(types.TYPES))}")
    value = _read(name, raw)
    types.dump(name, value)  # refuses what the type cannot hold
    return Typed(name, value)


def _read(name: str, raw: str) -> Any:
    if name in ("[]byte", "[]uint8"):
        try:
            return base64.b64decode(raw, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{name} takes base64, and {raw!r} is none: {error}") from None
    if name.startswith("[]"):
        try:
            values = json.loads(raw, parse_constant=_refuse)
        except ValueError as error:
            raise ValueError(f"{name} takes a JSON array, and {raw!r} is none: {error}") from None
        if not isinstance(values, list):
            raise ValueError(f"{name} takes a JSON array, and {raw!r} is none")
        if name.startswith("[]float"):
            return [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
        return values
    if name == "string":
        return raw
    if name == "bool":
        if raw not in ("true", "false"):
            raise ValueError(f"bool takes true or false, not {raw!r}")
        return raw == "true"
    if name.startswith("float"):
        try:
            return float(raw)
        except ValueError:
            raise ValueError(f"{name} takes a number, not {raw!r}") from None
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", raw):
        raise ValueError(f"{name} takes a whole number, not {raw!r}")
    return int(raw)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def typed_arguments(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Typed, ...]:
    """A click callback that reads all of them."""
    try:
        return tuple(map(read_typed, value))
    except (ValueError, LocalProtocolError) as error:
        raise click.BadParameter(str(error), ctx, param) from None
