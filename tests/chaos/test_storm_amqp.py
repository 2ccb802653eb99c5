"""The storm on RabbitMQ: workers killed, the broker restarted, connections closed by its operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.servers import RabbitServer, RedisServer

from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

from .crashes import DIED_ALONE, await_a_hard_limit, await_a_task_that_ends_its_process
from .cut_storms import CutSite, CutStorm, weather
from .producers import QUEUE
from .rough import Rough
from .test_storm import seed_of_this_run

#: Seconds: a RabbitMQ that was killed may publish a message whose delay had ended only 3 minutes later.
PATIENCE_S = 240.0


class RabbitSite(CutSite):
    """A site with RabbitMQ as the broker; states are in a Redis that no fault touches."""

    def __init__(self, folder: Path, rabbit: RabbitServer, counter: RedisServer) -> None:
        super().__init__(folder, rabbit, counter)
        self.rabbit = rabbit

    def url(self, proxy: Proxy | None = None) -> str:
        return f"amqp://127.0.0.1:{(proxy or self.rabbit).port}/"

    def ready(self, count: int | None = None) -> None:
        wanted = len(self.nodes) if count is None else count
        eventually(lambda: self._sum("consumers") >= wanted, 60, f"{wanted} consumers")

    def open(self) -> int:
        """Messages in all queues, held ones too; but not the records of deaths."""
        return self._sum("messages")

    def letters(self) -> list[DeadLetter]:
        with open_connection(self.url()) as connection:
            found: list[DeadLetter] = connection.channel().dead_letters(QUEUE)
            return found

    def _sum(self, what: str) -> int:
        """Return the sum over all queues that hold tasks."""
        # All others of ours hold notes.
        return int(
            self.rabbit.evaluate(
                f"lists:sum([N || Q <- rabbit_amqqueue:list(), [{{name, {{_, _, _, Name}}}}, {{{what}, N}}] <- "
                f"[catch rabbit_amqqueue:info(Q, [name, {what}])], "
                'nomatch =:= re:run(Name, "^gearmesh:(deaths|suspect)")]).'
            )
        )


class RabbitStorm(CutStorm):
    """Kills as on Redis; the broker restarts; connections are cut on the way, and closed by the broker."""

    def __init__(self, site: RabbitSite, seed: int) -> None:
        super().__init__(site, seed)
        self._rabbit = site.rabbit
        now = time.monotonic()
        self._plan = [
            (now + 1.0, 1.0, self._kill),
            (now + 8.0, 15.0, self._restart),
            (now + 2.0, 2.0, self._close),
            (now + 0.7, 0.7, self._cut),
        ]

    def _restart(self) -> str:
        self.cuts.append(time.monotonic())
        hard = self._random.random() < 0.5
        if hard:
            self._rabbit.kill()
            self._rabbit.start()
        else:
            self._rabbit.restart()
        self.cuts.append(time.monotonic())
        return "RabbitMQ killed" if hard else "RabbitMQ restarted"

    def _close(self) -> str:
        self._rabbit.close_connections("the storm")
        self.cuts.append(time.monotonic())
        return "all connections closed"


@pytest.fixture
def site(
    tmp_path: Path, make_rabbitmq: Callable[..., RabbitServer], make_redis: Callable[..., RedisServer]
) -> Iterator[RabbitSite]:
    with RabbitSite(tmp_path, make_rabbitmq(), make_redis()) as site:
        yield site


def storm(site: RabbitSite, **size: Any) -> None:
    seed = seed_of_this_run()
    weather(site, lambda: RabbitStorm(site, seed), seed, patience=PATIENCE_S, **size)


@pytest.mark.timeout(600)
def test_short(site: RabbitSite) -> None:
    """Some 1,500 tasks, 12 s of faults with one restart."""
    storm(site, nodes=2, tasks=1000, seconds=12.0, workflows=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long(site: RabbitSite) -> None:
    """Four workers, 20,000 tasks and more in chains and chords."""
    storm(site, nodes=4, tasks=20_000, seconds=150.0, workflows=10)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process(site: RabbitSite, rough: Rough) -> None:
    """Only the supervisor knows which task ran: it notes the UUID where the next worker that gets the message looks."""
    rough("threads")
    rough("processes", concurrency=2)
    site.ready(3)
    await_a_task_that_ends_its_process(site, others=400)
    (letter,) = eventually(site.letters)
    assert letter.reason == DIED_ALONE
    again = sum(len(site.runs(f"other/{i}")) - 1 for i in range(400))
    assert again < 30, "only tasks that ran beside it at its first death, or had no commit yet, ran twice"


@pytest.mark.timeout(120)
def test_a_hard_limit(site: RabbitSite, rough: Rough) -> None:
    rough("processes", "--hard-limit", "0.5", concurrency=2)
    site.ready(2)
    await_a_hard_limit(site)
    eventually(lambda: not site.open())
    assert [len(site.runs(key)) for key in ("hang", "mourner")] == [1, 1]
    assert [len(site.runs(f"task/{i}")) for i in range(20)] == [1] * 20
    assert not site.letters()
