"""Reads Machinery's YAML file, and knows the file that a command or the environment has chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from gearmesh.config.table import FILE_NAMES, SECTIONS, SETTINGS, Kind
from gearmesh.config.typos import meant
from gearmesh.config.values import Said, take, unknown
from gearmesh.errors import ConfigError

__all__ = ["FILE_VARIABLE", "Contents", "chosen_file", "from_file", "from_yaml", "using_file"]

#: The variable that names the file if no argument does.
FILE_VARIABLE: Final = "GEARMESH_CONFIG"
#: The file that the running command uses, for an app that the command imports and that names no broker.
_FILE: ContextVar[str | None] = ContextVar("gearmesh.config_file", default=None)


@contextmanager
def using_file(path: str | None) -> Iterator[None]:
    """Make :func:`chosen_file` return ``path`` within the block, unless ``path`` is None."""
    token = _FILE.set(path or _FILE.get())
    try:
        yield
    finally:
        _FILE.reset(token)


def chosen_file(env: Mapping[str, str]) -> str | None:
    """Return the file of the running command, else the file that the environment names; None if there is neither."""
    return _FILE.get() or env.get(FILE_VARIABLE) or None


class Contents(NamedTuple):
    """The settings and other names in a file.

    Attributes:
        said: the values that it sets, by the settings' paths.
        ignored: names that are not settings, each with its line, for people. They may belong to another program that
            shares the file.
    """

    said: dict[str, Said]
    ignored: list[str]


def from_file(path: str | os.PathLike[str]) -> Contents:
    """Read a whole file. (Go reads its first 1,000 bytes.)

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has a wrong value, or a name that looks like a misspelt
            setting; the message names file and line.
    """
    shown = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise ConfigError(f"config file {shown!r} cannot be read: {reason}") from None
    return from_yaml(text, shown)


def from_yaml(text: str, called: str) -> Contents:
    """Read a YAML text; ``called`` is the name of its file, for errors.

    It uses only the syntax tree and its plain values, so a tag in the file cannot create an object.
    """
    import yaml  # programs without a file need not import it

    found = Contents({}, [])
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None and not _is_null(root):
            _read(loader, root, "", called, found)
    except (yaml.YAMLError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it is nested too deeply"
        raise ConfigError(f"{called}{line}: invalid YAML: {problem}") from None
    return found


def _read(loader: Any, node: Any, section: str, called: str, found: Contents) -> None:
    """Read a mapping: the file's own, or a section's."""
    place = f"{called} line {node.start_mark.line + 1}"
    if node.id != "mapping":
        raise ConfigError(f"{place}: {section or 'the file'} is a {node.id}, expected names and values")
    loader.flatten_mapping(node)
    # Go: the last one of a repeated key counts, and a mapping's own key wins over a merged ("<<") one.
    pairs = {str(key_node.value): (key_node, value_node) for key_node, value_node in node.value}
    for key, (key_node, value_node) in pairs.items():
        path = f"{section}.{key}" if section else key
        origin = f"{called} line {key_node.start_mark.line + 1}"
        if path in SECTIONS:
            if not _is_null(value_node):
                _read(loader, value_node, path, called, found)
        elif path not in FILE_NAMES:
            # Go: skips unknown names, so a service may keep settings of its own in the same file.
            if key_node.id == "scalar" and meant(path) is not None:
                raise unknown(path, _plain(loader, value_node, called), origin)
            found.ignored.append(_ignored(path, origin) if key_node.id == "scalar" else f"a key ({origin})")
        elif not _is_null(value_node):
            setting, name = FILE_NAMES[path]
            take(found.said, setting, name, _value(loader, value_node, name.kind, called), origin, path)


def _ignored(path: str, origin: str) -> str:
    """Return a name that is not a setting, for people, with the path under which it would be one."""
    elsewhere = [each for each in SETTINGS if "." not in path and each.rpartition(".")[2] == path]
    shown = path if len(path) <= 80 else path[:79] + "…"
    return f"{shown} ({origin}{f'; do you mean {elsewhere[0]}?' if elsewhere else ''})"


def _value(loader: Any, node: Any, kind: Kind, called: str) -> Any:
    if kind.textual and node.id == "scalar":
        return kind.parse(node.value)
    value = _plain(loader, node, called)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(loader: Any, node: Any, called: str) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        # PyYAML does not check texts before it converts them: a date such as 2026-99-99, a number such as 0x.
        line = node.start_mark.line + 1
        raise ConfigError(f"{called} line {line}: this value cannot be read: {exc}") from None


def _is_null(node: Any) -> bool:
    return node.id == "scalar" and str(node.tag).endswith(":null")
