"""Reads the layers of a Config: defaults, a file, the environment, keywords; the later ones win."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gearmesh.config.checks import KEYWORD
from gearmesh.config.file import Contents, from_file
from gearmesh.config.local import local_url
from gearmesh.config.typos import meant_in_environment
from gearmesh.config.values import Said, from_environment, from_mapping

__all__ = ["FILE_VARIABLE", "Source", "chosen_file", "using_file"]

#: The variable that names the file if no argument does.
FILE_VARIABLE: Final = "GEARMESH_CONFIG"
_EAGER: Final = ("eager", "eager://")
#: The file of the command that runs in this process, for an app that it imports and that names no broker.
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
    """The file of the command that runs, else the one that the environment names; None without one."""
    return _FILE.get() or env.get(FILE_VARIABLE) or None


class Base(Protocol):
    """The Config below a Source: the part of it that a Source reads."""

    @property
    def source(self) -> Source | None:
        """The layers that it was read from; None: it was made by hand."""

    def value(self, path: str) -> Any:
        """A setting's value by its path."""

    def origin(self, path: str) -> str:
        """Name the place that a setting comes from."""

    def items(self) -> Iterable[tuple[str, Any]]:
        """All settings, by path."""
        ...

    def reload(self) -> Base:
        """Read it again."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """The layers that a Config comes from. It knows the origin of each setting, and can be read again.

    Attributes:
        file: a YAML file's path; None: there is none.
        env: the environment; None: this process's own.
        given: keywords.
        watch: the file is to be read again while programs run.
        base: what counts where nothing is said; None: the defaults.
        given_origin: names the place of the keywords: :data:`~gearmesh.config.checks.KEYWORD`, or the command line.
        said: by the settings' paths, what was said.
        ignored: names in the file and in the environment that are no settings, for people.
    """

    file: str | None
    env: Mapping[str, str] | None
    given: Mapping[str, Any]
    watch: bool
    base: Base | None
    said: Mapping[str, Said]
    given_origin: str = KEYWORD
    ignored: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Source of {len(self.said)} settings>"

    @classmethod
    def read(
        cls,
        file: str | os.PathLike[str] | None,
        env: Mapping[str, str] | None,
        given: Mapping[str, Any],
        *,
        watch: bool = False,
        base: Base | None = None,
        given_origin: str = KEYWORD,
    ) -> Source:
        """Read all layers. A ConfigError names the wrong setting and the place where it was set."""
        path = None if file is None else os.fspath(file)
        said, ignored = from_file(path) if path is not None else Contents({}, [])
        variables = os.environ if env is None else env
        for variable, near in meant_in_environment(variables).items():
            ignored.append(f"{variable} (environment; do you mean {near}?)")
        said |= from_environment(variables)
        if base is not None:
            # The environment's values, which the base already has, win over the file's.
            said = {key: each for key, each in said.items() if not base.origin(key).startswith("environment")}
        said |= from_mapping(given, given_origin)
        if base is None:
            _complete(said)
        return cls(path, env, dict(given), watch, base, said, given_origin, tuple(ignored))

    def again(self) -> Source:
        """Read the same layers again, as they are now."""
        base = self.base.reload() if self.base is not None else None
        return Source.read(
            self.file, self.env, self.given, watch=self.watch, base=base, given_origin=self.given_origin
        )

    def files(self) -> list[str]:
        """All files that were read."""
        return [source.file for source in self._all() if source.file is not None]

    def all_ignored(self) -> list[str]:
        """:attr:`ignored` of all layers."""
        return [name for source in self._all() for name in source.ignored]

    def _all(self) -> list[Source]:
        """The Sources below this one, and this one."""
        below = self.base.source._all() if self.base is not None and self.base.source is not None else []
        return [*below, self]

    def values(self) -> dict[str, Any]:
        """The values by path: those of these layers over those of the base."""
        below = dict(self.base.items()) if self.base is not None else {}
        return {**below, **{path: each.value for path, each in self.said.items()}}


def _complete(said: dict[str, Said]) -> None:
    """Add the project's own Redis if no broker is named; with an eager broker, keep results in the process, too."""
    if "broker" not in said and (url := local_url()) is not None:
        said["broker"] = Said(url, "gearmesh dev")
        for role in ("backend", "lock"):
            said.setdefault(role, Said(url, "gearmesh dev"))
    if "backend" not in said and "broker" in said and said["broker"].value in _EAGER:
        said["backend"] = Said("eager", said["broker"].origin)
