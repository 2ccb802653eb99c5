"""The storm on RabbitMQ: workers killed, the broker restarted, connections closed by its operator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from tests.support.servers import RabbitServer, RedisServer

from gearmesh import App, TaskFailed
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection

from .harness import Report, Run, Site, Storm
from .producers import QUEUE, AppProducer, Sent, remote_tasks
from .rough import Rough
from .test_storm import seed_of_this_run, settled

#: Seconds: what had ended so long before a cut must have been acknowledged.
UNCOMMITTED = 10.0


class RabbitSite(Site):
    """With RabbitMQ as the broker; states are in a Redis that no fault touches."""

    def __init__(self, folder: Path, rabbit: RabbitServer, counter: RedisServer) -> None:
        super().__init__(folder, counter, counter)
        self.rabbit = rabbit
        self.backend = counter.url_of(1)
        self.broker = redis.Redis(host="127.0.0.1", port=counter.port, db=1)

    def proxy(self) -> Proxy:
        proxy = self._stack.enter_context(Proxy(self.rabbit.port))
        self.proxies.append(proxy)
        return proxy

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
        """Of all queues that hold tasks."""
        # All others of ours hold notes.
        return int(
            self.rabbit.evaluate(
                f"lists:sum([N || Q <- rabbit_amqqueue:list(), [{{name, {{_, _, _, Name}}}}, {{{what}, N}}] <- "
                f"[catch rabbit_amqqueue:info(Q, [name, {what}])], "
                'nomatch =:= re:run(Name, "^gearmesh:(deaths|suspect)")]).'
            )
        )


class RabbitStorm(Storm):
    """Kills as on Redis; the broker restarts; connections are cut on the way, and closed by the broker."""

    def __init__(self, site: RabbitSite, seed: int) -> None:
        super().__init__(site, seed)
        self._rabbit = site.rabbit
        #: when all connections, or some, were cut
        self.cuts: list[float] = []
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

    def _cut(self) -> str:
        self._random.choice(self._site.proxies).cut()
        self.cuts.append(time.monotonic())
        return "connections cut"


def account(site: RabbitSite, sent: Sent, seed: int, cuts: list[float]) -> Report:
    """Compare what was sent with what ran."""
    report = Report(seed, tasks=len(sent.tasks), unsure=len(sent.unsure), chords=len(sent.chords))
    kills = sorted([*site.killed().values(), *cuts])
    keys = list(sent.tasks)
    states = dict(zip(keys, site.states([sent.tasks[key] for key in keys]), strict=True))
    for key in keys:
        runs = sorted(site.runs(key), key=lambda run: run.at)
        wanted = 2 if key in sent.flaky else 1
        if key not in sent.unsure:
            if len(runs) < wanted:
                (report.never_fired if key in sent.chords else report.lost).append(key)
            elif states[key] != "SUCCESS":
                report.stuck.append(f"{key} is {states[key]}")
        if len(runs) > wanted:
            report.doubled[key] = runs
            known = _explained(runs, site.runs(key, "end"), kills) or _forked(site, key, kills)
            if not known and not _unconfirmed(sent, key, cuts):
                report.unexplained[key] = runs
    for key, total in sent.chords.items():
        with App(site.url(), site.backend) as app:
            if states[key] == "SUCCESS" and app.result(sent.tasks[key]).get(timeout=5) != total:
                report.wrong_sums.append(key)
    report.dead = [{b"reason": letter.reason.encode(), b"body": letter.body} for letter in site.letters()]
    return report


def _explained(runs: list[Run], ends: list[Run], kills: list[float]) -> bool:
    """Before it ran again there was a cut, and at the cut it ran, or had just ended and was not acknowledged."""
    for sooner, later in pairwise(runs):
        end = next((end.at for end in ends if end.pid == sooner.pid and end.at >= sooner.at), sooner.at)
        if any(sooner.at <= kill <= later.at and kill - end < UNCOMMITTED for kill in kills):
            return True
    return False


def _unconfirmed(sent: Sent, key: str, cuts: list[float]) -> bool:
    """It was being sent at a cut: without its confirm nobody knows whether it was taken, and it is sent again.

    Whoever gets it looks whether the task has ended; one that has failed and is to be tried again has not. A cut is
    noted down when the command that makes it has returned, up to 2 s later.
    """
    began, ended = sent.sending.get(key, (0.0, 0.0))
    return any(began <= cut <= ended + 2.0 for cut in cuts)


def _forked(site: RabbitSite, key: str, kills: list[float]) -> bool:
    """A chain goes on twice where a cut hit one of its steps, as long as the two run side by side."""
    flow, _, step = key.rpartition("/")
    if not flow.startswith("chain/"):
        return False
    number = int(step)
    while number and len(site.runs(f"{flow}/{number - 1}")) > 1:
        number -= 1
    before = site.runs(f"{flow}/{max(0, number - 1)}")[0]
    last = max(run.at for run in site.runs(f"{flow}/{number}"))
    return any(before.at <= kill <= last for kill in kills)


def weather(site: RabbitSite, seed: int, *, nodes: int, tasks: int, seconds: float, workflows: int) -> None:
    """Send ``tasks`` within ``seconds`` while faults happen, then wait until all is done."""
    print(f"\nseed {seed}")
    began = time.monotonic()
    for _ in range(nodes):
        site.node(site.proxy())
    site.ready()
    producer = AppProducer(site.url(site.proxy()), seed, tasks, seconds, workflows, backend=site.backend)
    storm = RabbitStorm(site, seed)
    producer.start()
    while producer.is_alive():
        storm.tick()
    storm.calm()
    producer.join()
    for node in site.nodes:
        if not node.running:
            node.start()
    sent = producer.sent
    certain = [uuid for key, uuid in sent.tasks.items() if key not in sent.unsure]
    # A RabbitMQ that was killed may publish a message whose delay had ended 3 minutes later only.
    if not settled(site, certain, patience=240):
        print("nothing moves any more", site.open())
    report = account(site, sent, seed, storm.cuts)
    report.faults = storm.count
    report.seconds = time.monotonic() - began
    report.slots = (len(site.killed()) + len(storm.cuts)) * sum(node.concurrency for node in site.nodes)
    print(report)
    try:
        report.check()
    except AssertionError:
        site.show_logs()
        raise


@pytest.fixture
def site(
    tmp_path: Path, make_rabbitmq: Callable[..., RabbitServer], make_redis: Callable[..., RedisServer]
) -> Iterator[RabbitSite]:
    with RabbitSite(tmp_path, make_rabbitmq(), make_redis()) as site:
        yield site


@pytest.mark.timeout(600)
def test_short(site: RabbitSite) -> None:
    """Some 1,500 tasks, 12 s of faults with one restart."""
    weather(site, seed_of_this_run(), nodes=2, tasks=1000, seconds=12.0, workflows=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_long(site: RabbitSite) -> None:
    """Four workers, 20,000 tasks and more in chains and chords."""
    weather(site, seed_of_this_run(), nodes=4, tasks=20_000, seconds=150.0, workflows=10)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_process(site: RabbitSite, rough: Rough) -> None:
    """Nobody but the supervisor saw what ran: it notes it down where the next one looks."""
    rough("threads")
    rough("processes", concurrency=2)
    site.ready(3)
    with App(site.url(), site.backend) as app:
        work = remote_tasks(app)["work"]
        others = app.publish_many(work.s(f"other/{i}", 1) for i in range(200))
        culprit = app.remote("die", "string").delay("culprit")
        others += app.publish_many(work.s(f"other/{i}", 1) for i in range(200, 400))
        with pytest.raises(TaskFailed, match="its process died 3 times while it ran alone"):
            culprit.get(timeout=60)
        for each in others:
            each.get(timeout=60)
    (letter,) = site.letters()
    assert letter.reason == "its process died 3 times while it ran alone"
    assert 3 <= len(site.runs("culprit")) <= 4
    again = sum(len(site.runs(f"other/{i}")) - 1 for i in range(400))
    assert again < 30, "only what ran beside it at its first death, or had not been committed, ran twice"


@pytest.mark.timeout(120)
def test_a_hard_limit(site: RabbitSite, rough: Rough) -> None:
    rough("processes", "--hard-limit", "0.5", concurrency=2)
    site.ready(2)
    with App(site.url(), site.backend) as app:
        hang, work = app.remote("hang", "string"), remote_tasks(app)["work"]
        mourn = app.remote("mourn", "string", "string")
        result = hang.s("hang").on_error(mourn.s("mourner")).apply_async()
        beside = app.publish_many(work.s(f"task/{i}", 50) for i in range(20))
        with pytest.raises(TaskFailed, match=r"hard time limit of 0\.5 s exceeded"):
            result.get(timeout=30)
        for each in beside:
            each.get(timeout=20)
        eventually(lambda: site.runs("mourner"))
    eventually(lambda: not site.open())
    assert [len(site.runs(key)) for key in ("hang", "mourner")] == [1, 1]
    assert [len(site.runs(f"task/{i}")) for i in range(20)] == [1] * 20
    assert not site.letters()
