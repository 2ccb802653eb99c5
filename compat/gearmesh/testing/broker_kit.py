"""The fixture ``gearmesh_broker``: a test reads its queues, moves its clock, and causes faults."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gearmesh.app.app import App
from gearmesh.app.task import Task
from gearmesh.interfaces.commit import Commit
from gearmesh.interfaces.observer import ObservedJob, TaskObserver
from gearmesh.testing.controlled_broker import ControlledBroker
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature
from gearmesh.wire.types import load_args
from gearmesh.worker.worker import Worker

__all__ = ["BrokerKit", "EnqueuedCall"]

#: Seconds within which the tasks of ``run_all`` must end.
RUN_TIMEOUT_S: Final = 30.0
#: Number of tasks after which ``run_all`` regards a workflow as endless.
MAX_RUNS: Final = 10_000
#: Seconds by which a delay may differ from the expected one, since the test takes some time between the two.
DELAY_TOLERANCE_S: Final = 5.0


@dataclass(frozen=True)
class EnqueuedCall:
    """One message that no worker has taken.

    Attributes:
        task: the name of the task.
        args: the values of the arguments.
        queue: the queue in which the message waits, or to which it will go when it is due.
        delay: seconds until the message is due by the test's clock; 0: it is due now.
        signature: the whole message.
    """

    task: str
    args: tuple[Any, ...]
    queue: str
    delay: float
    signature: Signature

    def __str__(self) -> str:
        when = f", due in {self.delay:.3g} s" if self.delay else ""
        return f"{self.task}({', '.join(map(repr, self.args))}) in {self.queue!r}{when}"


class _Ended(TaskObserver):
    """Collects the names of tasks in the order in which they end."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def ended(self, begun: object, job: ObservedJob, commit: Commit) -> None:
        self.names.append(job.sig.Name)


class BrokerKit:
    """The in-memory broker of one test, with the app that uses it.

    Args:
        app: the app under test, whose broker is ``broker``.
        broker: the broker.
    """

    def __init__(self, app: App, broker: ControlledBroker) -> None:
        self.app = app
        self._broker = broker

    # -- waiting messages -------------------------------------------------------------------------------

    def enqueued(self, task: Task[..., Any, Any] | str | None = None) -> list[EnqueuedCall]:
        """The messages that no worker has taken: first those that are due, then the delayed ones.

        With ``task`` it returns only the messages of that task.
        """
        name = task.name if isinstance(task, Task) else task
        found = []
        for queue in self._broker.queues():
            found += [_call(body, queue, 0.0) for body in self._broker.pending(queue, MAX_RUNS)]
        now_ns = self._broker.now_ns()
        for message in self._broker.delayed(MAX_RUNS):
            delay = max(0.0, (message.eta_ns - now_ns) / 1e9)
            found.append(_call(message.body, "", delay))
        return [call for call in found if name in (None, call.task)]

    def assert_enqueued(
        self,
        task: Task[..., Any, Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        count: int = 1,
        queue: str | None = None,
        delay: float | None = None,
    ) -> list[EnqueuedCall]:
        """Assert that ``count`` calls of a task wait, and return them.

        Args:
            task: the task, or its name.
            args, kwargs: the arguments that were given to ``delay``. If both are None, any arguments match.
            count: the expected number of calls; 0: none may wait.
            queue: the queue in which they wait; None: any queue.
            delay: seconds until they are due, give or take 5; None: any delay.

        Raises:
            AssertionError: another number of calls waits; the text lists all messages.
        """
        want = None if args is None and kwargs is None else _expected(task, args or (), kwargs or {})
        found = [
            call
            for call in self.enqueued(task)
            if (want is None or call.args == want)
            and (queue is None or call.queue == queue)
            and (delay is None or abs(call.delay - delay) <= DELAY_TOLERANCE_S)
        ]
        if len(found) != count:
            name = task.name if isinstance(task, Task) else task
            shown = "" if want is None else f"({', '.join(map(repr, want))})"
            waiting = "".join(f"\n  {call}" for call in self.enqueued()) or " none"
            raise AssertionError(
                f"{len(found)} calls of {name}{shown} are enqueued, expected {count}; all messages:{waiting}"
            )
        return found

    # -- time and runs ----------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move the test's clock. Messages that are due within ``seconds`` become due now."""
        self._broker.move_clock(seconds)

    def run_all(self, *, delayed: bool = False) -> list[str]:
        """Start a worker that runs all waiting tasks, and the tasks that follow them, one at a time.

        Args:
            delayed: True also moves the clock to each delayed message and runs it, until no message is left.

        Returns the names of the tasks in the order in which they ended; a retry is an end, too.

        Raises:
            AssertionError: the tasks do not end.
        """
        ended = _Ended()
        while True:
            queues = sorted({self.app.default_queue, *self._broker.queues()})
            if any(self._count(queue) for queue in queues):
                self._work(queues, ended)
            elif not delayed or not self._broker.move_to_next():
                return ended.names

    def _work(self, queues: Sequence[str], ended: _Ended) -> None:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        with Worker(self.app, queues, concurrency=1, observers=[ended]), self._broker.changed:
            while any(self._count(queue) for queue in queues):
                if len(ended.names) > MAX_RUNS or time.monotonic() > deadline:
                    waiting = "".join(f"\n  {call}" for call in self.enqueued())
                    raise AssertionError(
                        f"after {len(ended.names)} tasks, messages still wait:{waiting or ' none, but a task runs'}"
                    )
                self._broker.changed.wait(0.1)

    def _count(self, queue: str) -> int:
        """The number of messages of a queue that wait or run."""
        count = self._broker.count(queue)
        return (count.pending or 0) + (count.held or 0)

    # -- faults -----------------------------------------------------------------------------------------

    @contextmanager
    def away(self) -> Iterator[None]:
        """Make the broker unreachable inside of the ``with`` block."""
        self._broker.set_away(True)
        try:
            yield
        finally:
            self._broker.set_away(False)

    def lose_reply(self, count: int = 1) -> None:
        """Make the broker accept the next ``count`` messages or outcomes, but lose its replies.

        The connection breaks before the sender learns that the broker has accepted the message.
        """
        self._broker.lose_replies(count)

    def kill_worker(self, task: Task[..., Any, Any] | str) -> None:
        """Make the worker die in the next run of a task, after the function has run and before its outcome is stored.

        The broker redelivers the message, as after a lease, so the function runs again.
        """
        self._broker.kill_worker_of(task.name if isinstance(task, Task) else task)

    def dead(self) -> list[EnqueuedCall]:
        """The dead letters of all queues."""
        broker = self._broker
        return [
            _call(letter.body, queue, 0.0)
            for queue in broker.queues()
            for letter in broker.dead_letters(queue, MAX_RUNS)
        ]


def _call(body: bytes, queue: str, delay: float) -> EnqueuedCall:
    sig = decode(body)
    return EnqueuedCall(sig.Name, tuple(load_args(sig)), queue or sig.RoutingKey, delay, sig)


def _expected(
    task: Task[..., Any, Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Convert arguments to the values that a worker reads, since a tuple becomes a list on its way."""
    if isinstance(task, Task):
        return tuple(load_args(Signature(Args=task.declaration.dump_args(args, kwargs))))
    return tuple(args)
