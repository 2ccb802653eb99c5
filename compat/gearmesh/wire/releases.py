"""Machinery's releases, and the messages that older ones cannot take.

Three kinds of messages fail in older Go workers, or stop them. A Go worker on Redis that refuses one message loses
others with it, so the sender must refuse them. Source: peers that were built from the tags, docs/reference/versions.md.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import msgspec

from gearmesh.errors import LocalProtocolError, RemoteProtocolError
from gearmesh.wire.codec import decode
from gearmesh.wire.loading import load
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskResult
from gearmesh.wire.typenames import BYTES

__all__ = ["Feature", "Release", "ReleaseLimits", "features", "parse_releases"]

#: Go: the largest unsigned value that releases without FEATURE_UNSIGNED read, since they read it as an int64.
MAX_OLD_UNSIGNED: Final = 2**63 - 1
_UNSIGNED: Final = frozenset(("uint", "uint64", "[]uint", "[]uint64"))
#: A message without any of these is one that every release can take.
_SUSPECT: Final = re.compile(
    rb'"(?:\[\])?uint(?:64)?"|"\[\](?:byte|uint8)"|"IgnoreWhenTaskNotRegistered":true'
)


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A release of Machinery: ``v1.8.8`` is ``Release(1, 8, 8)``."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True)
class Feature:
    """A kind of value or option that a message may hold, and the releases that can take it.

    Attributes:
        name: the value or option, in words.
        since: the first release of each major version that can take it; a major version that is missing has none.
        harm: the effect in a worker or client of an earlier release.
        amqp_only: the harm is done on RabbitMQ only.
    """

    name: str
    since: tuple[Release, ...]
    harm: str
    amqp_only: bool = False

    def lacking(self, releases: Sequence[Release]) -> Release | None:
        """Return the first of these releases that cannot take it; None if all can."""
        for release in releases:
            if not any(first.major == release.major and first <= release for first in self.since):
                return release
        return None

    @property
    def since_text(self) -> str:
        """The first releases that can take it, for people: ``v1.10.7 or v2.0.12``."""
        return " or ".join(map(str, self.since))


UNSIGNED: Final = Feature(
    "unsigned values above 2^63-1",
    (Release(1, 10, 7), Release(2, 0, 12)),
    "its workers fail the task, and its clients cannot read such a result",
)
BYTES_FEATURE: Final = Feature(
    "bytes",
    (Release(1, 6, 9), Release(2, 0, 0)),
    "its workers do not know []byte, nor base64 as []uint8",
)
IGNORE: Final = Feature(
    "ignore_unregistered",
    (Release(2, 0, 14),),
    "its workers on RabbitMQ never settle such a message if they do not know the task, and stop after prefetch-many",
    amqp_only=True,
)
_FEATURES: Final = (UNSIGNED, BYTES_FEATURE, IGNORE)


def features() -> tuple[Feature, ...]:
    """Return all features that some release lacks."""
    return _FEATURES


def parse_releases(text: str) -> tuple[Release, ...]:
    """Parse a setting such as ``v1.8.8`` or ``v1.10.8, v2.0.10``; ``()`` for ``""``. ValueError if it is malformed."""
    found = []
    for one in text.split(",") if text.strip() else ():
        major, minor, patch = (int(part) for part in one.strip().removeprefix("v").split("."))
        found.append(Release(major, minor, patch))
    return tuple(found)


class ReleaseLimits:
    """Refuses messages and results that one of the releases in a deployment cannot take.

    Args:
        releases: the lowest release of each major version in use.
        amqp: the broker is RabbitMQ.
    """

    def __init__(self, releases: Sequence[Release], *, amqp: bool = False) -> None:
        self._releases = tuple(releases)
        self._lacking = {
            feature: lacking
            for feature in _FEATURES
            if (amqp or not feature.amqp_only) and (lacking := feature.lacking(self._releases)) is not None
        }

    def __bool__(self) -> bool:
        """Return False if the releases take everything."""
        return bool(self._lacking)

    def check_message(self, queue: str, body: bytes) -> None:
        """Check a message, and all the signatures in it.

        Raises:
            LocalProtocolError: it names the task, the argument, the value and the release that can take it.
        """
        if not _SUSPECT.search(body):
            return
        for _, sig in decode(body).walk():
            self.check_signature(sig)

    def check_signature(self, sig: Signature) -> None:
        """Check one signature, without those below it. Raises as :meth:`check_message`."""
        task = f"task {sig.Name!r}"
        for number, arg in enumerate(sig.Args or (), 1):
            name = f" ({arg.Name!r})" if arg.Name else ""
            self._check_value(f"{task}, argument {number}{name}", arg.Type, arg.Value)
        if sig.IgnoreWhenTaskNotRegistered and IGNORE in self._lacking:
            self._refuse(IGNORE, f"{task}, option ignore_unregistered is True")

    def check_results(self, name: str, results: Sequence[TaskResult]) -> None:
        """Check the results of the task ``name``. Raises LocalProtocolError as :meth:`check_message`."""
        for number, result in enumerate(results, 1):
            self._check_value(f"task {name!r}, result {number}", result.Type, result.Value)

    def _check_value(self, where: str, type: str, raw: msgspec.Raw) -> None:
        feature = BYTES_FEATURE if type in BYTES else UNSIGNED if type in _UNSIGNED else None
        if feature is None or feature not in self._lacking:
            return
        try:
            value = load(type, raw)
        except RemoteProtocolError:
            return  # another program wrote the value, and no release reads it
        if feature is BYTES_FEATURE:
            self._refuse(feature, f"{where} as {type} is {reprlib.repr(value)}")
        largest = max(value, default=0) if isinstance(value, list) else value
        if largest > MAX_OLD_UNSIGNED:
            self._refuse(feature, f"{where} as {type} is {largest}")

    def _refuse(self, feature: Feature, what: str) -> NoReturn:
        raise LocalProtocolError(
            f"{what}: Machinery {self._lacking[feature]} cannot take {feature.name}, expected {feature.since_text} "
            "or later everywhere (the setting machinery_release)"
        )
