"""Sends plans: calls hooks, stores PENDING states and group metas, and publishes messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gearmesh.app.capabilities import TaskHost
from gearmesh.app.eager import Eager
from gearmesh.app.options import check_delay
from gearmesh.app.plan import EncodedMessage, Plan, PlannedMessage
from gearmesh.app.publisher import Publisher, RetryDecider
from gearmesh.errors import LocalProtocolError, RemoteProtocolError, TaskError
from gearmesh.ids import new_uuid
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.transports.registry import message_check
from gearmesh.wire import gotime, workflow
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import PENDING, TaskState
from gearmesh.wire.types import load_args

__all__ = ["Hook", "PlanSender", "ready"]

#: A function that sees each signature before it is published, and may return a changed one.
Hook = Callable[[Signature], "Signature | None"]


class PlanSender:
    """Sends the plans of one app: calls its hooks, stores group metas and PENDING states, hands Commits to the
    publisher."""

    def __init__(self, app: TaskHost, publisher: Publisher) -> None:
        self._app = app
        self._publisher = publisher
        self._eager = Eager(app)
        self.hooks: list[Hook] = []

    def exception_of(self, uuid: str) -> Exception | None:
        """The exception with which a task of an eager app failed in this process; None if it did not fail here."""
        return self._eager.exception_of(uuid)

    def outgoing(self, sig: Signature) -> Signature:
        """Return the signature after all hooks. Raises their errors, and TaskError if a hook has changed its id."""
        for hook in self.hooks:
            changed = hook(sig)
            if changed is None or changed is sig:
                continue
            same = isinstance(changed, Signature) and changed.UUID == sig.UUID
            if not same or changed.GroupUUID != sig.GroupUUID:
                raise TaskError(
                    f"task {sig.Name!r}: before_publish returned {changed!r:.80}, expected a Signature with "
                    "the same UUID and GroupUUID, or None"
                )
            sig = changed
        return sig

    def send(self, plan: Plan, should_retry: RetryDecider | None = None) -> None:
        """Check a whole plan, and then send all of it.

        ``should_retry``: see :meth:`~gearmesh.app.publisher.Publisher.send`.
        """
        created = gotime.format_ns(plan.now_ns)
        written = self._written(plan)
        eager = self._app.config.eager
        first = bool(plan.metas) or eager
        if first:
            self._store(plan, written, created, should_retry)
        if eager:
            self._eager.run([each.body for each in written])
            return
        commits = [_commit(each, None if first else created) for each in written]
        self._publisher.send(commits, connections=plan.connections, should_retry=should_retry)

    async def asend(self, plan: Plan) -> None:
        """Do the same as :meth:`send` without blocking the event loop: one message without hooks needs no thread."""
        if len(plan.messages) != 1 or plan.metas or self.hooks or self._app.config.eager:
            await asyncio.to_thread(self.send, plan)
            return
        (written,) = self._written(plan)
        await self._publisher.asend(_commit(written, gotime.format_ns(plan.now_ns)))

    def _written(self, plan: Plan) -> list[EncodedMessage]:
        """Call the hooks, and encode and check a plan's messages. Raises the hooks' errors, or LocalProtocolError."""
        messages: Sequence[PlannedMessage | EncodedMessage] = plan.messages
        if self.hooks:
            messages = [self._hooked(message, plan.now_ns) for message in messages]
        written = [message.written() for message in messages]
        check = message_check(self._app.config)
        for each in written:
            if check is not None:
                check(each.queue, each.body)
            if each.eta_ns:
                check_delay(each.name, each.eta_ns, plan.now_ns, self._app.config.max_delay)
        return written

    def check(self, plan: Plan) -> None:
        """Raise LocalProtocolError if the broker, or a release of Machinery in use, cannot take a message of a plan."""
        check = message_check(self._app.config)
        if check is None:
            return
        for message in plan.messages:
            written = message.written()
            check(written.queue, written.body)

    def store_pending(self, plan: Plan, should_retry: RetryDecider | None = None) -> None:
        """Store the PENDING states of a plan's messages before they are sent. Raises PublishError."""
        created = gotime.format_ns(plan.now_ns)
        self._store(plan, [message.written() for message in plan.messages], created, should_retry)

    def _store(
        self, plan: Plan, written: Sequence[EncodedMessage], created: str, should_retry: RetryDecider | None
    ) -> None:
        """Store group metas and all PENDING states, which must exist before a member is sent."""
        named = dict(plan.members)
        named.update((each.uuid, each.name) for each in written)
        states = [
            TaskState(TaskUUID=task_uuid, TaskName=name, State=PENDING, CreatedAt=created)
            for task_uuid, name in named.items()
        ]
        self._publisher.store(states, plan.metas, should_retry=should_retry)

    def _hooked(self, message: PlannedMessage | EncodedMessage, now_ns: int) -> PlannedMessage:
        before = message.sig
        sig = self.outgoing(before)
        if sig.ETA == before.ETA:
            return PlannedMessage(sig, message.eta_ns)
        return PlannedMessage(sig, _due(sig, now_ns))


def _commit(message: EncodedMessage, created: str | None) -> Commit:
    """The Commit that sends a message; with its PENDING state, unless ``created`` is None."""
    publish = Publish(message.queue, message.body, message.eta_ns, message.priority)
    if created is None:
        return Commit(publishes=(publish,))
    state = TaskState(TaskUUID=message.uuid, TaskName=message.name, State=PENDING, CreatedAt=created)
    return Commit(states=(state,), publishes=(publish,), new_uuid=message.new_uuid)


def ready(sig: Signature, queue: str, now_ns: int) -> PlannedMessage:
    """Fill in and check a signature that another program, or a user, has made.

    Raises:
        TaskError: it has no name.
        LocalProtocolError: Go could not read an argument, of this signature or of one inside it.
    """
    sig = workflow.prepare(sig, queue=queue, new_id=new_uuid)
    for _, each in sig.walk():
        if not each.Name:
            raise TaskError("a signature without a Name cannot be sent")
        try:
            load_args(each)
        except RemoteProtocolError as exc:
            raise LocalProtocolError(f"task {each.Name!r}: Go could not read an argument: {exc}") from exc
    return PlannedMessage(sig, _due(sig, now_ns))


def _due(sig: Signature, now_ns: int) -> int:
    """The moment at which the broker may deliver it (unix ns; 0: now), from its ETA."""
    if sig.ETA is None:
        return 0
    eta_ns = gotime.parse(sig.ETA)
    return eta_ns if eta_ns > now_ns else 0
