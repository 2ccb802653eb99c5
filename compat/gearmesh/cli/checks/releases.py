"""Finds faults of the releases of Machinery in the deployment, which the setting ``machinery_release`` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gearmesh.app.task import Task
from gearmesh.cli.checks.base import Case, Finding
from gearmesh.config import Config
from gearmesh.urls import REDIS_SCHEMES
from gearmesh.wire.releases import Feature, Release, features, parse_releases

__all__ = ["releases"]

_DEFAULT_DELAYED_KEY: Final = "delayed_tasks"
#: Go types of each feature, by its name.
_TYPES: Final = {"bytes": ("[]byte", "[]uint8")}


@dataclass(frozen=True, slots=True)
class _Quirk:
    """A fault of older releases that no message can avoid.

    Attributes:
        until: the first release without the fault, for each major version that has one.
        applies: returns True if an app with these settings can meet the fault.
        text: the consequence. advice: the remedy.
        everywhere: True if all releases of a major version that is not in ``until`` have the fault; False if none has.
    """

    until: tuple[Release, ...]
    applies: Callable[[Config], bool]
    text: str
    advice: str
    everywhere: bool = False

    def of(self, release: Release) -> bool:
        """True if the release has this fault."""
        same = [first for first in self.until if first.major == release.major]
        return release < same[0] if same else self.everywhere


def _on_redis(config: Config) -> bool:
    return config.broker.partition("://")[0].lower() in REDIS_SCHEMES


def _on_rabbitmq(config: Config) -> bool:
    return config.on_rabbitmq


_QUIRKS: Final = (
    _Quirk(
        (Release(2, 0, 14),),
        _on_redis,
        "if its worker refuses one message, it can lose the next tasks, up to its concurrency + 1",
        "A worker refuses messages that it cannot read and values of wrong types. gearmesh sends none of these; let no "
        "other program write to the queue.",
        everywhere=True,
    ),
    _Quirk(
        (Release(1, 7, 4),),
        _on_rabbitmq,
        "its worker rejects a redelivered message whose task it does not know: the message is lost",
        "Give workers with different tasks separate queues, or use v1.7.4 or later.",
    ),
    _Quirk(
        (),
        _on_rabbitmq,
        "retries of a Go worker after less than about 50 ms can get lost, because its delay queue expires too soon",
        "Let Go tasks retry after a second or more. Retries of Python workers do not use that queue.",
        everywhere=True,
    ),
    _Quirk(
        (Release(1, 9, 2),),
        lambda config: _on_redis(config) and config.delayed_tasks_key != _DEFAULT_DELAYED_KEY,
        f"it ignores the setting of the delayed tasks' key and uses {_DEFAULT_DELAYED_KEY!r}",
        f"Leave delayed_tasks_key at {_DEFAULT_DELAYED_KEY!r}, or use v1.9.2 or later.",
    ),
    _Quirk(
        (Release(1, 10, 3),),
        lambda config: config.lock is not None and bool(config.lock_executable),
        "its schedulers leave locks that never expire, or after 50 years",
        "The locks are small, and gearmesh reads the times in them, so they do no harm.",
    ),
    _Quirk(
        (Release(1, 7, 0),),
        lambda config: True,
        "a Go worker that publishes a message again drops priority and ignore_unregistered",
        "Do not rely on these two after a retry, or in a chain that passes through Go.",
    ),
)


def releases(case: Case) -> Iterator[Finding]:
    """Find tasks that cannot be sent to the releases in use, and the faults of these releases that the app can meet."""
    lowest = parse_releases(case.config.machinery_release)
    for release in lowest:
        about = f"Machinery {release}"
        for feature in features():
            if feature.lacking((release,)) is not None:
                yield from _unsendable(case, about, feature)
        for quirk in _QUIRKS:
            if quirk.of(release) and quirk.applies(case.config):
                yield Finding("note", about, quirk.text, quirk.advice)


def _unsendable(case: Case, about: str, feature: Feature) -> Iterator[Finding]:
    names = sorted(name for name, task in case.app.tasks.items() if _uses(case.config, task, feature))
    if names:
        yield Finding(
            "problem",
            about,
            f"cannot take {feature.name}: {feature.harm}; calls of {', '.join(names)} are refused",
            f"Use {feature.since_text} or later everywhere, or change the tasks.",
        )


def _uses(config: Config, task: Task[..., object, object], feature: Feature) -> bool:
    """True if every call of the task needs the feature."""
    if feature.amqp_only:
        return config.on_rabbitmq and bool(task.options.ignore_unregistered)
    declaration = task.declaration
    slots = [*declaration.exact, *(declaration.results or ())]
    return any(slot.go in _TYPES.get(feature.name, ()) for slot in slots)
