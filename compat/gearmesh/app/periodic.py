"""Periodic tasks: an app declares signatures with their schedules, and a :mod:`gearmesh.scheduler` sends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from types import MappingProxyType
from typing import Any

from gearmesh import cron
from gearmesh.app.canvas import AnyNode, Node, TaskSignature
from gearmesh.app.plan import Plan
from gearmesh.cron import Every, Schedule
from gearmesh.errors import ConfigError, TaskError
from gearmesh.wire.names import periodic_fired, periodic_lock
from gearmesh.wire.signature import Signature

__all__ = ["CatchUp", "Periodic", "Periodics"]

#: The missed firings that a scheduler sends later: the latest ones up to a number, those within a timedelta, or None.
CatchUp = int | timedelta | None

SECOND_NS = 10**9
#: Nanoseconds between two firings if the schedule has no second one.
ASSUMED_INTERVAL_NS = 366 * 86_400 * SECOND_NS
#: Seconds, beyond the next firings, for which the last firing stays stored.
FIRED_RECORD_EXTRA_TTL_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Periodic:
    """One periodic task: the signature that a scheduler sends, and its schedule. Made by :meth:`App.periodic`, and
    checked there.

    Attributes:
        name: a name that is unique in its app; name and ``spec`` are parts of the lock's key.
        spec: the spec, with the time zone in front if one was given.
        what: a workflow, or a signature as it is on the wire, without ids.
        schedule: the spec, parsed.
        catch_up: the missed firings that a scheduler sends later.
    """

    name: str
    spec: str
    what: AnyNode | Signature
    schedule: Schedule = field(compare=False)
    catch_up: CatchUp = None

    def next_times(self, count: int, after_ns: int | None = None) -> list[int]:
        """The next times (unix ns) after ``after_ns`` (None: now); fewer than ``count`` if the schedule ends."""
        after = time.time_ns() if after_ns is None else after_ns
        return list(islice(self.schedule.times(after), count))

    def next_after(self, due_ns: int) -> int:
        """The time at which it is due again (unix ns); a year later if it is never due again."""
        following = self.schedule.next(due_ns)
        return due_ns + ASSUMED_INTERVAL_NS if following is None else following

    def deadlines(self, due: Sequence[int]) -> list[int]:
        """The times until which a scheduler still sends each of these firings (unix ns), at least until the next one.

        ``due``: consecutive times of the schedule, without a gap.
        """
        if not due:
            return []
        count = self.catch_up if isinstance(self.catch_up, int) else 1
        following = self.next_times(count, due[-1])
        known = [*due, *following, *([due[-1] + ASSUMED_INTERVAL_NS] * (count - len(following)))]
        deadlines = known[count:]
        if isinstance(self.catch_up, timedelta):
            span = self.catch_up // timedelta(microseconds=1) * 1000
            return [max(moment + span, until) for moment, until in zip(due, deadlines, strict=True)]
        return deadlines

    def remembered(self, due_ns: int, until_ns: int) -> float:
        """Seconds for which the firing of ``due_ns``, which is still sent until ``until_ns``, must stay stored."""
        return 2 * (until_ns - due_ns) / SECOND_NS + FIRED_RECORD_EXTRA_TTL_S

    def lock_key(self, executable: str) -> str:
        """The key of the lock by which schedulers exclude each other."""
        return periodic_lock(executable, self.name, self.spec)


class Periodics:
    """Holds the periodic tasks of one app, by name. Safe in threads.

    Args:
        plan: makes the plan of a workflow or signature, without sending it.
    """

    def __init__(self, plan: Callable[[AnyNode | Signature], Plan]) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._entries: dict[str, Periodic] = {}
        self._watches: list[Callable[[], None]] = []

    @property
    def entries(self) -> Mapping[str, Periodic]:
        """The entries at this moment, by name."""
        with self._lock:
            return MappingProxyType(dict(self._entries))

    def add(
        self, spec: str, what: AnyNode | Signature, name: str | None, tz: str | None, catch_up: CatchUp
    ) -> Periodic:
        """See :meth:`App.periodic <gearmesh.app.app.App.periodic>`."""
        if name is None:
            name = _own_name(what)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"periodic: name is {name!r:.80}, expected text that is not empty")
        try:
            if tz is not None:
                spec = cron.in_zone(spec, tz)
            schedule = cron.parse(spec)
            periodic_fired(periodic_lock("", name, spec))
        except ConfigError as exc:
            raise ConfigError(f"periodic {name!r}: {exc}") from None
        entry = Periodic(name, spec, _without_ids(what), schedule, _checked(name, catch_up, schedule))
        try:
            self._try(entry)
        except TaskError as exc:
            raise TaskError(f"periodic {name!r}: {exc}") from exc
        with self._lock:
            if name in self._entries:
                raise ConfigError(
                    f"periodic {name!r}: the name is taken, by {self._entries[name].spec!r}; expected another"
                )
            self._entries[name] = entry
            watches = list(self._watches)
        for wake in watches:
            wake()
        return entry

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` after each new entry. Returns a function that ends this; you may call it twice."""
        with self._lock:
            self._watches.append(wake)

        def stop() -> None:
            with self._lock:
                if wake in self._watches:
                    self._watches.remove(wake)

        return stop

    def _try(self, entry: Periodic) -> None:
        """Encode an entry's messages twice without sending them, to check that every firing has its own ids."""
        first, second = self._planned(entry.what), self._planned(entry.what)
        if same := first & second:
            raise TaskError(f"uuid is {min(same)!r}, expected none: every firing gets ids of its own")

    def _planned(self, what: AnyNode | Signature) -> set[str]:
        if not isinstance(what, (Node, Signature)):
            raise TaskError(f"{what!r:.80} is no signature, expected task.s(…), a chain, a group or a chord")
        plan = self._plan(what)
        for message in plan.messages:
            message.written()
        # The successors of a signature that another program made get their UUIDs when they are sent.
        return {each.UUID for message in plan.messages for _, each in message.sig.walk()} - {""}


def _own_name(what: Any) -> str:
    if isinstance(what, TaskSignature):
        return what.task.name
    if isinstance(what, Signature):
        return what.Name
    raise ConfigError(f"periodic: {what!r:.80} has no name of its own, expected name=…")


def _without_ids(what: Any) -> Any:
    """A wire signature without the ids that a firing fills in, all the way down."""
    if not isinstance(what, Signature):
        return what
    if what.GroupUUID:
        raise TaskError(
            f"periodic: {what.Name!r} belongs to {what.GroupUUID!r}; expected a group(…), which is new each time"
        )
    return _bare(what)


def _bare(sig: Signature) -> Signature:
    bare: dict[int, Signature] = {}
    for _, each in reversed(list(sig.walk())):  # successors first
        bare[id(each)] = each.evolve(
            UUID="",
            OnSuccess=each.OnSuccess and tuple(below and bare[id(below)] for below in each.OnSuccess),
            OnError=each.OnError and tuple(below and bare[id(below)] for below in each.OnError),
            ChordCallback=each.ChordCallback and bare[id(each.ChordCallback)],
        )
    return bare[id(sig)]


def _checked(name: str, catch_up: Any, schedule: Schedule) -> CatchUp:
    if catch_up is None:
        return None
    number = isinstance(catch_up, int) and not isinstance(catch_up, bool) and catch_up >= 0
    span = isinstance(catch_up, timedelta) and catch_up >= timedelta()
    if not number and not span:
        raise ConfigError(
            f"periodic {name!r}: catch_up is {catch_up!r:.80}, expected a number of firings (0 or more), "
            "a timedelta, or None"
        )
    if not catch_up:
        return None
    if isinstance(schedule, Every):
        raise ConfigError(
            f"periodic {name!r}: catch_up is {catch_up!r}, expected None: @every counts from when a scheduler "
            "starts, so nothing is due while none runs"
        )
    checked: CatchUp = catch_up
    return checked
