"""Defines a memory broker whose clock and faults a test controls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import uuid4

from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.transports.memory.broker import BROKERS, Broker, InProcessBackend
from gearmesh.transports.memory.queue import Unacked
from gearmesh.wire.codec import decode

__all__ = ["ControlledBroker"]


class ControlledBroker(Broker):
    """The broker ``memory://NAME`` of one test. Its clock stands still until the test moves it.

    The clock decides only when delayed messages are due: calls with a countdown or an ETA, and retries with a pause.
    """

    def __init__(self) -> None:
        super().__init__(f"pytest-{uuid4().hex}")
        BROKERS.put(self.name, self)
        self._now_ns = time.time_ns()
        self._away = False
        self._lost_replies = 0
        self._killers: list[str] = []

    @property
    def url(self) -> str:
        """The URL of this broker, which is also the URL of its result backend."""
        return f"memory://{self.name}"

    def now_ns(self) -> int:
        return self._now_ns

    def due_ns(self, eta_ns: int, delay_ns: int) -> int:
        return self._now_ns + delay_ns

    def move_clock(self, seconds: float) -> None:
        """Let ``seconds`` pass, and move the messages that are due then to their queues."""
        with self.changed:
            self._now_ns += round(seconds * 1e9)
            self.advance()
            self.changed.notify_all()

    def move_to_next(self) -> bool:
        """Move the clock to the time at which the next delayed message is due; False: no message is delayed."""
        with self.changed:
            for message in self.delayed(1):
                self._now_ns = max(self._now_ns, message.eta_ns)
                self.move_clock(0)
                return True
            return False

    # -- faults ----------------------------------------------------------------------------------------

    def set_away(self, away: bool) -> None:
        """Refuse the commands of all connections, as a broker that restarts; False: answer again."""
        with self.changed:
            self._away = away
            self.changed.notify_all()

    def lose_replies(self, count: int) -> None:
        """Carry out the next ``count`` commits, but raise ConnectionResetError to their callers."""
        with self.changed:
            self._lost_replies = count

    def kill_worker_of(self, task: str) -> None:
        """Make the worker die in a task's next run, after the function has run and before its outcome is stored."""
        with self.changed:
            self._killers.append(task)

    # -- the broker's verbs, with the faults -----------------------------------------------------------

    def fetch(
        self, of_channel: dict[int, Unacked], consumer: str, queue: str, limit: int, *, no_ack: bool = False
    ) -> list[Unacked]:
        self._need_connection()
        return super().fetch(of_channel, consumer, queue, limit, no_ack=no_ack)

    def commit(
        self, commits: Sequence[Commit], token: Token | None = None, backend: InProcessBackend | None = None
    ) -> list[Outcome]:
        with self.changed:
            self._need_connection()
            for commit in commits:
                self._kill(
                    commit
                )  # takes the delivery from the worker, so the outcome of the commit is "lost"
            outcomes = super().commit(commits, token, backend)
            if self._lost_replies:
                self._lost_replies -= 1
                raise ConnectionResetError("the test lost the broker's reply")
            return outcomes

    def _need_connection(self) -> None:
        if self._away:
            raise ConnectionRefusedError("the test keeps the broker away")

    def _kill(self, commit: Commit) -> None:
        """If the worker of this commit's delivery must die, return all its deliveries to their queues."""
        settle = commit.settle
        if settle is None or settle.how == "keep" or not self._killers:
            return
        unacked = self.queue(settle.delivery.queue).find(settle.delivery)
        if unacked is None:
            return
        task = decode(unacked.message.body).Name
        if task in self._killers:
            self._killers.remove(task)
            delivery = settle.delivery
            self.recover(delivery.consumer, [delivery.queue], crashed=True, running={delivery.id})
