"""Finds the setting that a misspelt name resembles."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

from gearmesh.config.table import FILE_NAMES, SECTIONS, SETTINGS

__all__ = ["meant", "meant_in_environment"]

#: The ratio of difflib from which a name counts as misspelt: one letter in six is added, missing or wrong.
MIN_RATIO: Final = 0.85

_PREFIX: Final = "GEARMESH_"


def meant(key: str) -> str | None:
    """Return the setting or section of its level that ``key`` in a file resembles; None if it resembles none.

    A file may hold keys of another program that shares it. So only a name that is very similar to a setting's counts as
    misspelt: ``Broker``, ``default-queue``, ``brokr`` or ``borker``; not ``clock`` (``lock``) or ``redis2``.
    """
    section, dot, name = key.rpartition(".")
    known = [path for path in (*FILE_NAMES, *SECTIONS) if path.rpartition(".")[0] == section]
    return _nearest(name, {path.removeprefix(section + dot): path for path in known})


def meant_in_environment(env: Iterable[str]) -> dict[str, str]:
    """Return variables ``GEARMESH_…`` that are not settings but resemble one, each with that setting's variable."""
    names = [name for setting in SETTINGS.values() for name in setting.names if name.env]
    variables = {name.env for name in names}
    # BROKER and others have Machinery's name, without a prefix, so GEARMESH_BROKER sets nothing.
    known = {name.file.replace(".", "_").upper(): name.env for name in reversed(names)}
    known |= {name.removeprefix(_PREFIX): name for name in (*variables, f"{_PREFIX}CONFIG")}
    found: dict[str, str] = {}
    for variable in sorted(env):
        if variable.startswith(_PREFIX) and variable not in (*variables, f"{_PREFIX}CONFIG"):
            near = _nearest(variable.removeprefix(_PREFIX), known)
            if near is not None:
                found[variable] = near
    return found


def _nearest(name: str, known: Mapping[str, str]) -> str | None:
    bare = _bare(name)
    if not bare:
        return None
    # The later of two equal names wins: it is the longer one, and so more specific.
    by_bare = {_bare(each): each for each in sorted(known, key=len)}
    if bare in by_bare:
        return known[by_bare[bare]]
    if bare[-1].isdigit() and bare.rstrip("0123456789") in by_bare:
        return None  # a second setting of its kind, not a typo
    swapped = [each for each in by_bare if sorted(each) == sorted(bare)]
    # Typing errors hardly ever change the first letter; other words do.
    same_start = [each for each in by_bare if each[0] == bare[0]]
    near = swapped or difflib.get_close_matches(bare, same_start, 1, MIN_RATIO)
    return known[by_bare[near[0]]] if near else None


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
