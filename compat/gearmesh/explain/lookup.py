"""Looks for a task, a group or a chord in a broker and a result backend. It changes nothing there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from gearmesh.app.app import App
from gearmesh.errors import GearmeshError
from gearmesh.inspection.broker import channel_to, known_queues
from gearmesh.inspection.consumers import last_heard, silence_of
from gearmesh.inspection.messages import signature_of
from gearmesh.interfaces.backend import SupportsRevocation
from gearmesh.interfaces.transport import SupportsConsumerListing, SupportsInspection, SupportsParkedListing
from gearmesh.results.failures import FailureDetails, read_record
from gearmesh.results.progress import Progress
from gearmesh.urls import scheme_of
from gearmesh.wire.names import failure_record
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import GroupMeta, TaskState

__all__ = ["LocatedMessage", "Lookup", "look_up"]

#: Messages that are read in each place: the delayed ones, and the waiting, parked and dead ones of each queue.
MAX_SEARCHED_MESSAGES: Final = 10_000
#: Messages that are reported; a group may have many.
MAX_FOUND_MESSAGES: Final = 100


class LocatedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that names the UUID, and its place on the broker.

    Attributes:
        sig: the message.
        place: ``waiting``, ``delivered``, ``delayed``, ``parked`` or ``dead``.
        queue: its queue.
        position: the number of messages before it, if it is waiting.
        consumer: the consumer that has it, if it is delivered.
        silence: the reason why that consumer counts as silent, in words; ``""``: it is not silent.
        at_ns: unix nanoseconds at which a delayed message is due, or a dead one became a dead letter last; None: the
            broker does not say, or the message is in another place.
        reason: the reason why the message is parked or dead.
    """

    sig: Signature
    place: str
    queue: str
    position: int = 0
    consumer: str = ""
    silence: str = ""
    at_ns: int | None = None
    reason: str = ""


class Lookup(msgspec.Struct, kw_only=True):
    """Holds everything that the broker and the backend know about a UUID.

    Attributes:
        uuid: the UUID.
        state, progress, details: those of the task; None: the backend has none.
        group: the meta of the group with this UUID, or of the group of which the task is a member.
        states: the stored states of all other tasks that were found, by UUID.
        revoked_s: the seconds for which the task stays revoked; None: it is not revoked.
        messages: the messages that have the UUID as their own or their group's, or as that of a follow-up task.
        consumers: the number of consumers of each queue in which such a message waits; a queue is missing if its
            broker does not report the number.
        unsearched: the reason why the broker was searched partly or not at all; ``""``: it was searched completely.
    """

    uuid: str
    state: TaskState | None = None
    progress: Progress | None = None
    details: FailureDetails | None = None
    group: GroupMeta | None = None
    states: dict[str, TaskState | None] = {}
    revoked_s: float | None = None
    messages: list[LocatedMessage] = []
    consumers: dict[str, int] = {}
    unsearched: str = ""

    @property
    def own(self) -> list[LocatedMessage]:
        """The messages whose own UUID is the one that was looked up."""
        return [found for found in self.messages if self.uuid == found.sig.UUID]


def look_up(app: App, uuid: str, queues: Sequence[str] = ()) -> Lookup:
    """Look for a UUID in a broker and a backend.

    Args:
        app: the app that names the broker and the backend.
        uuid: the UUID of a task, a group, or a chord's callback.
        queues: queues to search in addition to the app's own.

    Raises:
        GearmeshError: a server cannot be reached.
    """
    found = Lookup(uuid=uuid)
    if app.keeps_results:
        _read_task(app, found)
    _search(app, found, queues)
    if app.keeps_results:
        _read_others(app, found)
    return found


def _read_task(app: App, found: Lookup) -> None:
    record_uuid = failure_record(found.uuid)
    found.state, record = app.states([found.uuid, record_uuid])
    if found.state is not None and found.state.Error:
        found.details = read_record(record, found.state.Error)
    found.progress = app.reports([found.uuid])[0]
    with app.reached_backend() as backend:
        found.group = backend.read_group(found.uuid)
        if isinstance(backend, SupportsRevocation):
            found.revoked_s = backend.revoked().get(found.uuid)


def _read_others(app: App, found: Lookup) -> None:
    """Read the group of the task, and the states of all tasks in the group and in the messages."""
    groups = [one.sig.GroupUUID for one in found.own if one.sig.GroupUUID]
    if found.group is None and groups:
        with app.reached_backend() as backend:
            found.group = backend.read_group(groups[0])
    uuids = set(found.group.TaskUUIDs if found.group is not None else ())
    for one in found.messages:
        uuids |= {sig.UUID for _, sig in one.sig.walk() if sig.UUID}
    uuids.discard(found.uuid)
    names = sorted(uuids)[:MAX_SEARCHED_MESSAGES]
    found.states = dict(zip(names, app.states(names), strict=True))


def _search(app: App, found: Lookup, queues: Sequence[str]) -> None:
    scheme = scheme_of(app.config.brokers[0])
    if scheme in ("eager", "memory"):
        found.unsearched = (
            f"the broker {scheme} is inside one process, so its messages cannot be searched from here"
        )
        return
    with channel_to(app) as channel:
        names = list(dict.fromkeys((*queues, *known_queues(app, channel))))
        if not channel.lists_delayed:
            found.unsearched = (
                "this broker shows a message only by delivering it, so waiting, delayed and delivered messages were "
                "not searched"
            )
        for one in _messages(channel, names, app.config.lease):
            if len(found.messages) < MAX_FOUND_MESSAGES and _concerns(one.sig, found.uuid):
                found.messages.append(one)
        for queue in {one.queue for one in found.messages if one.place == "waiting"}:
            count = channel.count(queue).consumers if isinstance(channel, SupportsInspection) else None
            if count is not None:
                found.consumers[queue] = count


def _concerns(sig: Signature, uuid: str) -> bool:
    return any(uuid in (one.UUID, one.GroupUUID) for _, one in sig.walk())


def _messages(channel: Any, queues: Iterable[str], lease: float) -> Iterator[LocatedMessage]:
    """Yield all messages that the broker lists without delivering them."""
    delayed = channel.lists_delayed
    if delayed:
        for entry in channel.delayed(MAX_SEARCHED_MESSAGES):
            sig = signature_of(entry.body)
            yield LocatedMessage(sig=sig, place="delayed", queue=sig.RoutingKey, at_ns=entry.eta_ns)
    for queue in queues:
        if delayed:
            for position, body in enumerate(channel.pending(queue, MAX_SEARCHED_MESSAGES)):
                yield LocatedMessage(sig=signature_of(body), place="waiting", queue=queue, position=position)
        if isinstance(channel, SupportsConsumerListing):
            for consumer in channel.consumers(queue):
                silence = silence_of(consumer, lease)
                if silence:
                    silence = f"{last_heard(consumer)}: {silence}"
                for body in consumer.bodies:
                    yield LocatedMessage(
                        sig=signature_of(body),
                        place="delivered",
                        queue=queue,
                        consumer=consumer.name,
                        silence=silence,
                    )
        if delayed and isinstance(channel, SupportsParkedListing):
            for parked in channel.parked(queue, MAX_SEARCHED_MESSAGES):
                reason = "unregistered" if parked.since is not None else "rate"
                yield LocatedMessage(
                    sig=signature_of(parked.body), place="parked", queue=queue, reason=reason
                )
        yield from _dead(channel, queue)


def _dead(channel: Any, queue: str) -> Iterator[LocatedMessage]:
    try:
        letters = channel.dead_letters(queue, MAX_SEARCHED_MESSAGES)
    except GearmeshError:  # this broker has no list of dead letters
        return
    for letter in letters:
        yield LocatedMessage(
            sig=signature_of(letter.body),
            place="dead",
            queue=queue,
            reason=letter.reason,
            at_ns=int(letter.last * 1e9) if getattr(letter, "last", None) else None,
        )
