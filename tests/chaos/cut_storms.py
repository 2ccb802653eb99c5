"""Storms on brokers other than Redis. Connections are cut too, and a task in flight at a cut may run twice."""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import redis
from tests.support.servers import RedisServer

from gearmesh import App
from gearmesh.interfaces.transport import DeadLetter
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.servers import Server

from .harness import Report, Run, Site, Storm
from .producers import AppProducer, Sent
from .test_storm import settled

__all__ = ["CutSite", "CutStorm", "weather"]

#: Lines of a broker's log that may tell why a message is lost.
_TELLING = re.compile("error|warn|exception|fail|timeout|timed out|restored|started in", re.IGNORECASE)

#: Seconds: the message of a task that had ended so long before a cut must have been acknowledged.
UNCOMMITTED = 10.0


class CutSite(Site):
    """A broker behind a TCP port; states are in a Redis that no fault touches.

    Args:
        folder: for the workers' logs.
        far: the broker.
        counter: where tasks leave their marks, and states are.
    """

    def __init__(self, folder: Path, far: Server, counter: RedisServer) -> None:
        super().__init__(folder, counter, counter)
        self._far = far
        self.backend = counter.url_of(1)
        self.broker = redis.Redis(host="127.0.0.1", port=counter.port, db=1)

    def proxy(self) -> Proxy:
        proxy = self._stack.enter_context(Proxy(self._far.port))
        self.proxies.append(proxy)
        return proxy

    def show_trails(self, uuids: Mapping[str, str]) -> None:
        """Print the workers' log lines of some tasks, by their marks, and the broker's complaints."""
        for key, uuid in uuids.items():
            print(f"--- {key}: {self.states([uuid])}, runs {self.runs(key)}, ends {self.runs(key, 'end')}")
            for node in self.nodes:
                lines = node.log.read_text(errors="replace").splitlines()
                print(*(f"{node.log.name} {line}" for line in lines if uuid in line), sep="\n")
        print("--- the broker")
        print(*filter(_TELLING.search, self._far.log().decode(errors="replace").splitlines()), sep="\n")

    @abstractmethod
    def letters(self) -> list[DeadLetter]:
        """Read the dead letters."""


class CutStorm(Storm):
    """Kills workers as on Redis, and cuts connections; a subclass has the times and further faults."""

    def __init__(self, site: CutSite, seed: int) -> None:
        super().__init__(site, seed)
        #: when all connections, or some, were cut
        self.cuts: list[float] = []

    def _cut(self) -> str:
        self._random.choice(self._site.proxies).cut()
        self.cuts.append(time.monotonic())
        return "connections cut"


def weather(
    site: CutSite,
    storm: Callable[[], CutStorm],
    seed: int,
    *,
    nodes: int,
    tasks: int,
    seconds: float,
    workflows: int,
    patience: float = 60.0,
) -> None:
    """Send ``tasks`` within ``seconds`` while faults happen, then wait until all is done.

    Args:
        storm: begins the faults.
        patience: seconds for which nothing may move before the end.
    """
    print(f"\nseed {seed}")
    began = time.monotonic()
    for _ in range(nodes):
        site.node(site.proxy())
    site.ready()
    producer = AppProducer(site.url(site.proxy()), seed, tasks, seconds, workflows, backend=site.backend)
    faults = storm()
    producer.start()
    while producer.is_alive():
        faults.tick()
    faults.calm()
    producer.join()
    for node in site.nodes:
        if not node.running:
            node.start()
    site.url()  # from now on past the proxies, where a broker's address is in the environment
    sent = producer.sent
    certain = [uuid for key, uuid in sent.tasks.items() if key not in sent.unsure]
    if not settled(site, certain, patience=patience):
        print("nothing moves any more", site.open())
    report = account(site, sent, seed, faults.cuts)
    report.faults = faults.count
    report.seconds = time.monotonic() - began
    report.slots = (len(site.killed()) + len(faults.cuts)) * sum(node.concurrency for node in site.nodes)
    print(report)
    try:
        report.check()
    except AssertionError:
        print("kills", sorted(site.killed().items()), "cuts", faults.cuts)
        site.show_trails({key: sent.tasks[key] for key in (*report.lost, *report.unexplained)})
        site.show_logs()
        raise


def account(site: CutSite, sent: Sent, seed: int, cuts: list[float]) -> Report:
    """Compare the tasks that were sent with those that ran."""
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
            known = _explained(runs, site.runs(key, "end"), kills) or _sent_twice(site, sent, key, kills)
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
    """Return whether the message was being sent at a cut: its confirm was lost, so the sender has sent it again.

    A worker that receives the second copy runs the task unless it has ended; a failed one with retries left has not.
    The time of a cut is noted when the command that makes it has returned, up to 2 s later.
    """
    began, ended = sent.sending.get(key, (0.0, 0.0))
    return any(began <= cut <= ended + 2.0 for cut in cuts)


def _sent_twice(site: CutSite, sent: Sent, key: str, kills: list[float]) -> bool:
    """Return whether a cut explains two runs: a cut before it makes a chain or a chord's callback go on twice.

    A worker that lost a member's message at a cut may not have begun it, and left no mark. The message comes again
    after its visibility timeout or ack deadline, and may find a task that another copy has ended: its worker then only
    sends the follow-up tasks. So the cut lies anywhere between the sending of the workflow and the second run. In a
    chain, the second copy of an ended step may overtake the first: the run that counts is that of the first step that
    ran twice.
    """
    flow, _, step = key.rpartition("/")
    if flow.startswith("chain/"):
        steps = (site.runs(f"{flow}/{number}") for number in range(int(step) + 1))
        twice = next(runs for runs in steps if len(runs) > 1)
    elif step == "fired":
        twice = site.runs(key)
    else:
        return False
    began, _ = sent.sending[key]
    return any(began <= kill <= max(run.at for run in twice) for kill in kills)
