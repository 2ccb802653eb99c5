"""Faults chosen by a seed, and a report of lost and doubled tasks: see ``Storm``."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import redis
from tests.support.servers import RedisServer

from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.wire.names import QueueKeys

from .nodes import Node
from .producers import QUEUE, Sent

__all__ = ["KEYS", "Report", "Run", "Site", "Storm", "account"]

KEYS = QueueKeys(QUEUE)


@dataclass(frozen=True)
class Run:
    """One run of a task: its process, and its time by the machine's monotonic clock."""

    pid: int
    at: float


class Site:
    """A broker, a server that counts, and workers, each behind a proxy of its own where wanted.

    Args:
        folder: for the workers' logs.
        server: the broker; only one with an append-only file may be restarted.
        counter: where tasks leave their marks.
    """

    #: URL of where states are; "": on the broker
    backend = ""

    def __init__(self, folder: Path, server: RedisServer, counter: RedisServer) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.server = server
        self.counter = counter
        self.counts = redis.Redis(host="127.0.0.1", port=counter.port, decode_responses=True)
        self.broker = redis.Redis(host="127.0.0.1", port=server.port)
        self.nodes: list[Node] = []
        self.proxies: list[Proxy] = []
        #: from when to when the broker was unreachable (monotonic)
        self.away: list[tuple[float, float]] = []

    def __enter__(self) -> Site:
        self._stack.callback(self.counts.close)
        self._stack.callback(self.broker.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def proxy(self) -> Proxy:
        """Another way to the broker."""
        proxy = self._stack.enter_context(Proxy(self.server.port))
        self.proxies.append(proxy)
        return proxy

    def url(self, proxy: Proxy | None = None) -> str:
        """The broker's URL, through ``proxy`` if there is one."""
        return self.server.url if proxy is None else f"redis://127.0.0.1:{proxy.port}/0"

    def node(self, proxy: Proxy | None = None, *, apart: bool = False, **options: object) -> Node:
        """A worker, started; with Node's options. ``apart``: as if it had a machine of its own."""
        log = self._folder / f"node{len(self.nodes)}.log"
        if apart:
            machine = log.with_suffix("")
            machine.mkdir()
            options["machine"] = str(machine)
        node = Node(self.url(proxy), self.counter.port, log, backend=self.backend, **options)  # type: ignore[arg-type]
        self.nodes.append(node)
        self._stack.callback(node.close)
        return node.start()

    def ready(self, count: int | None = None) -> None:
        """Wait until that many workers consume; None: all."""
        wanted = len(self.nodes) if count is None else count
        eventually(lambda: len(self.consumers()) >= wanted, 30, f"{wanted} consumers")

    def consumers(self) -> dict[bytes, bytes]:
        """List the consumers, with heartbeat counters."""
        found: dict[bytes, bytes] = self.broker.hgetall(KEYS.consumers)  # type: ignore[assignment]
        return found

    def held(self) -> int:
        """Count the messages that consumers hold."""
        patterns = (KEYS.held("*"), KEYS.arrived("*"))
        total = 0
        for key in (key for pattern in patterns for key in self.broker.scan_iter(_literal(pattern))):
            total += int(self.broker.hlen(key) if b":held:" in key else self.broker.llen(key))  # type: ignore[arg-type]
        return total

    def open(self) -> int:
        """Messages anywhere: waiting, held, delayed, parked."""
        pipe = self.broker.pipeline(transaction=False)
        pipe.llen(QUEUE).zcard("delayed_tasks").zcard(KEYS.aside)
        return int(sum(pipe.execute())) + self.held()

    def commands(self, seconds: float) -> list[str]:
        """Record the commands that reach the broker from outside within ``seconds``, without those of scripts."""
        seen = []
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as link:
            link.sendall(b"MONITOR\r\n")
            assert link.recv(5) == b"+OK\r\n"
            timer = threading.Timer(seconds, link.shutdown, [socket.SHUT_RD])
            timer.start()
            for line in link.makefile("rb"):
                if b" lua] " not in line:
                    seen.append(line.decode(errors="replace").strip()[:100])
            timer.join()
        return seen

    def dead(self) -> list[dict[bytes, bytes]]:
        """The dead letters."""
        digests = self.broker.zrange(KEYS.dead, 0, -1)
        return [self.broker.hgetall(KEYS.dead_entry + digest.decode()) for digest in digests]  # type: ignore[union-attr,misc]

    def runs(self, key: str, what: str = "run") -> list[Run]:
        """The runs that left this mark; ``what``: their begin, or "end"."""
        return [_run(text) for text in self.counts.lrange(f"{what}:{key}", 0, -1)]  # type: ignore[union-attr]

    def begun(self) -> int:
        """Count the marks of tasks that began."""
        return sum(1 for _ in self.counts.scan_iter("run:*", count=5000))

    def states(self, uuids: list[str]) -> list[str]:
        """Return the name of each stored state; "" for a task without one."""
        words: list[str] = []
        for start in range(0, len(uuids), 500):
            bodies = self.broker.mget(uuids[start : start + 500]) if uuids else []
            words += [json.loads(body)["State"] if body else "" for body in bodies]  # type: ignore[union-attr]
        return words

    def show_logs(self, lines: int = 400) -> None:
        """Print the ends of the workers' logs; pytest shows them with a failure."""
        for node in self.nodes:
            print(f"--- {node.log.name}\n{node.tail(lines)}")

    def served(self, since: float, until: float) -> float:
        """Return the number of those seconds (monotonic) in which the broker was reachable."""
        return until - since - sum(max(0.0, min(until, end) - max(since, start)) for start, end in self.away)

    def killed(self) -> dict[int, float]:
        """List the moments at which each process was killed while it may have run tasks."""
        return {pid: at for node in self.nodes for pid, at in node.killed.items()}


def _literal(pattern: str) -> str:
    return pattern.replace("[", "\\[")


def _run(text: str) -> Run:
    pid, at = text.split()
    return Run(int(pid), float(at))


@dataclass
class Report:
    """Counts the lost, doubled and late tasks after the faults."""

    seed: int
    tasks: int = 0
    unsure: int = 0
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    #: marks that were left more often than they should, with their runs
    doubled: dict[str, list[Run]] = field(default_factory=dict)
    #: those of them for which no kill accounts
    unexplained: dict[str, list[Run]] = field(default_factory=dict)
    chords: int = 0
    never_fired: list[str] = field(default_factory=list)
    #: callbacks that ran again though no worker was killed while it ran them
    fired_twice: list[str] = field(default_factory=list)
    wrong_sums: list[str] = field(default_factory=list)
    #: doubled because they ran at a kill; there can't be more of these than slots that were killed
    running: int = 0
    slots: int = 0
    #: doubled because the kill came after their end and before their commit: seconds between their end and the kill
    uncommitted: list[float] = field(default_factory=list)
    #: seconds, of those in which some worker was up, from the kill of the last process that held it to the next run;
    #: with the mark, the process that ran it and was killed, and the process that ran it then
    orphans: list[tuple[float, str, int, int]] = field(default_factory=list)
    #: from the same kill until another worker held it: after that it waits for a free slot
    offered: list[float] = field(default_factory=list)
    #: of those seconds, the ones in which the broker was there
    served: list[float] = field(default_factory=list)
    #: of those that ran again later than after the lease and 2 s: each consumer that held it, since when, and when
    #: that consumer was killed, in seconds since it ran again
    late: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)
    #: the same from the kill of the first of them
    from_first: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    dead: list[dict[bytes, bytes]] = field(default_factory=list)

    def __str__(self) -> str:
        orphans = sorted(self.orphans)
        wait = (
            f"median {orphans[len(orphans) // 2][0]:.2f} s, longest {orphans[-1][0]:.2f} s with a worker up after the "
            f"kill of the last that held it, {max(self.from_first):.2f} s after that of the first; "
            f"held by another worker after at most {max(self.offered, default=0.0):.2f} s, "
            f"{max(self.served, default=0.0):.2f} s of them with a broker"
            if orphans
            else "none"
        )
        faults = ", ".join(f"{count} × {name}" for name, count in sorted(self.faults.items()))
        return "\n".join([
            f"seed {self.seed}: {self.tasks} tasks ({self.unsure} of unknown fate) in {self.seconds:.1f} s",
            f"  faults            {faults}",
            f"  lost              {len(self.lost)} {self.lost[:10] or ''}",
            f"  stuck             {len(self.stuck)} {self.stuck[:10] or ''}",
            f"  dead letters      {len(self.dead)} {self.dead[:2] or ''}",
            f"  doubled           {len(self.doubled)}: {self.running} ran at a kill, in {self.slots} slots; "
            f"{len(self.uncommitted)} had ended{_longest(self.uncommitted)} before it, uncommitted",
            f"  … without a kill  {len(self.unexplained)} {dict(list(self.unexplained.items())[:5]) or ''}",
            f"  chords            {self.chords}: {len(self.never_fired)} never fired {self.never_fired or ''}, "
            f"{len(self.fired_twice)} twice {self.fired_twice or ''}, {len(self.wrong_sums)} wrong sums",
            f"  orphans ran again {len(orphans)}: {wait}",
            f"  … late            {len(self.late)} {self.late or ''}",
        ])  # fmt: skip

    def check(self) -> None:
        """Fail if the promise was broken: a task lost or stuck, a chord not fired once, a double without a kill."""
        text = str(self)
        assert not self.lost, text
        assert not self.stuck, text
        assert not self.dead, text
        assert not self.unexplained, text
        assert not self.never_fired, text
        assert not self.fired_twice, text
        assert not self.wrong_sums, text


def account(site: Site, sent: Sent, seed: int = 0, holders: Holders | None = None) -> Report:
    """Compare the tasks that were sent with those that ran."""
    report = Report(seed, tasks=len(sent.tasks), unsure=len(sent.unsure), chords=len(sent.chords))
    killed = site.killed()
    report.slots = sum(len(node.killed) * node.concurrency for node in site.nodes)
    keys = list(sent.tasks)
    states = dict(zip(keys, site.states([sent.tasks[key] for key in keys]), strict=True))
    pipe = site.counts.pipeline(transaction=False)
    for key in keys:
        pipe.lrange(f"run:{key}", 0, -1)
    for key, texts in zip(keys, pipe.execute(), strict=True):
        runs = sorted((_run(text) for text in texts), key=lambda run: run.at)
        wanted = 2 if key in sent.flaky else 1
        if key not in sent.unsure:
            if len(runs) < wanted:
                (report.never_fired if key in sent.chords else report.lost).append(key)
            elif states[key] != "SUCCESS":
                report.stuck.append(f"{key} is {states[key]}")
        if len(runs) > wanted:
            report.doubled[key] = runs
            # A run is accounted for if its process was killed after it began.
            if sum(run.pid not in killed for run in runs) > wanted:
                report.unexplained[key] = runs
                if key in sent.chords:
                    report.fired_twice.append(key)
            _blame(site, report, key, runs, killed)
        for run, again in itertools.pairwise(runs):
            # A retry of a task that had ended before the kill is not an orphan.
            if key not in sent.flaky and run.pid in killed and again.at > killed[run.pid]:
                last = killed[run.pid]
                waited = again.at - last
                if holders is not None:
                    last = holders.last_kill(sent.tasks[key], last, again.at)
                    waited = holders.seconds_up(last, again.at)
                    offered = holders.offered(sent.tasks[key], last, again.at) - last
                    if waited >= holders.lease + 2:
                        report.late[key] = holders.trail(sent.tasks[key], again.at)
                    report.offered.append(offered)
                    report.served.append(site.served(last, last + offered))
                report.orphans.append((waited, key, run.pid, again.pid))
                report.from_first.append(again.at - killed[run.pid])
    for key, total in sent.chords.items():
        body = site.broker.get(sent.tasks[key])
        results = json.loads(body)["Results"] if body else None  # type: ignore[arg-type]
        if not results or results[0]["Value"] != total:
            report.wrong_sums.append(key)
    if left := site.open():
        report.stuck.append(f"{left} messages")
    report.dead = site.dead()
    return report


def _blame(site: Site, report: Report, key: str, runs: list[Run], killed: dict[int, float]) -> None:
    """Note for each run of ``key`` whether its process was killed during the task or before its commit."""
    ends = {run.pid: run.at for run in site.runs(key, "end")}
    plain = key.startswith(("go/", "app/"))  # all others end at once and leave no mark of that
    for run in runs:
        kill = killed.get(run.pid)
        if kill is None or run is runs[-1]:
            continue
        end = ends.get(run.pid) if plain else run.at
        if end is None or end > kill:
            report.running += 1
        else:
            report.uncommitted.append(kill - end)


def _longest(seconds: list[float]) -> str:
    return f" (up to {max(seconds):.2f} s)" if seconds else ""


class Holders(threading.Thread):
    """Notes every 50 ms which consumers hold each message: the next consumer of an orphan may be killed as well."""

    def __init__(self, site: Site, lease: float) -> None:
        super().__init__(name="holders", daemon=True)
        self.lease = lease
        self._site = site
        self._over = threading.Event()
        #: UUID -> consumer -> monotonic time at which it was first seen to hold it
        self.seen: dict[str, dict[str, float]] = {}
        #: consumer -> monotonic time at which it was first seen
        self.consumers: dict[str, float] = {}

    def run(self) -> None:
        while not self._over.wait(0.05):
            # Each consumer that holds messages is in this hash. A scan of all keys, this often, would load the server.
            with (
                suppress(redis.RedisError),
                redis.Redis(host="127.0.0.1", port=self._site.server.port, decode_responses=True) as client,
                client.pipeline(transaction=False) as pipe,
            ):
                consumers: list[str] = client.hkeys(KEYS.consumers)  # type: ignore[assignment]
                for consumer in consumers:
                    pipe.hvals(KEYS.held(consumer))
                now = time.monotonic()
                for consumer in consumers:
                    self.consumers.setdefault(consumer, now)
                for consumer, bodies in zip(consumers, pipe.execute(), strict=True):
                    for body in bodies:
                        self.seen.setdefault(_uuid(body), {}).setdefault(consumer, now)

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()

    def seconds_up(self, since: float, until: float) -> float:
        """Count the seconds between two moments in which at least one worker consumed."""
        lives = ((first, self._death(consumer, first)) for consumer, first in self.consumers.items())
        inside = sorted((max(first, since), min(death, until)) for first, death in lives)
        up, reached = 0.0, since
        for begin, end in inside:
            if end > reached:
                up += end - max(begin, reached)
                reached = end
        return up

    def offered(self, uuid: str, since: float, until: float) -> float:
        """Return the moment at which another process came to hold it: from then on it waits for a free slot only."""
        return min(
            (first for first in self.seen.get(uuid, {}).values() if since < first < until), default=until
        )

    def trail(self, uuid: str, end: float) -> list[tuple[str, float, float]]:
        """List its holders, from when on, and when each was killed, if it was; in seconds since ``end``."""
        rows = []
        for consumer, first in self.seen.get(uuid, {}).items():
            death = self._death(consumer, first)
            rows.append((consumer, round(first - end, 2), round(death - end, 2)))
        return rows

    def last_kill(self, uuid: str, since: float, until: float) -> float:
        """Return the moment at which its last holder was killed: ``since``, or later if others came to hold it."""
        last = since
        for consumer, first in self.seen.get(uuid, {}).items():
            death = self._death(consumer, first)
            if death < until:
                last = max(last, death)
        return last

    def _death(self, consumer: str, first: float) -> float:
        """Return the time at which the process that consumed under this name was killed; infinity if it was not."""
        supervisor = int(consumer.split(":")[1])
        kills = [at for node in self._site.nodes for pid, at in node.kills if pid == supervisor]
        # The supervisor starts its children one after another, and each consumes under a name of its own.
        return min((at for at in kills if at >= first), default=float("inf"))


def _uuid(body: str) -> str:
    return body.partition('"UUID":"')[2].partition('"')[0]


class Storm:
    """Faults at times that a seed decides, one kill a second.

    Each fault is a method that begins with ``_``; :meth:`tick` calls those that are due. Only one worker, or the
    producer, loses connections or replies at a time.

    Args:
        only_kills: spare Redis, the network and the first worker, which lives long enough to reap dead workers.
    """

    def __init__(self, site: Site, seed: int, *, only_kills: bool = False) -> None:
        self._site = site
        self._victims = site.nodes[1:] if only_kills else site.nodes
        self._random = random.Random(seed)
        self.count: dict[str, int] = {}
        self._plan: list[tuple[float, float, Callable[[], str]]] = []
        now = time.monotonic()
        faults: list[tuple[float, Callable[[], str]]] = [(1.0, self._kill)]
        if not only_kills:
            faults += [(6.0, self._restart), (0.4, self._cut)]
        for every, fault in faults:
            self._plan.append((now + every, every, fault))

    def tick(self) -> None:
        """Call the faults that are due, and restart dead workers as a service manager does."""
        now = time.monotonic()
        for index, (at, every, fault) in enumerate(self._plan):
            if now >= at:
                name = fault()
                self.count[name] = self.count.get(name, 0) + 1
                self._plan[index] = (now + every * self._random.uniform(0.7, 1.3), every, fault)
        for node in self._site.nodes:
            if not node.running:
                node.start()
        time.sleep(0.02)

    def calm(self) -> None:
        """No fault goes on."""
        for proxy in self._site.proxies:
            proxy.lose_replies(0)
            proxy.allow()

    def _kill(self) -> str:
        node = self._random.choice(self._victims)
        what = self._random.choice(["child", "supervisor", "both"])
        if what == "child" and node.kill_child():
            return "child killed"
        if what == "both":
            node.kill_both()
            return "both killed"
        node.kill_supervisor()
        return "supervisor killed"

    def _restart(self) -> str:
        server, client = self._site.server, self._site.broker
        killed = self._random.random() < 0.5
        if not killed:
            client.config_set("appendfsync", "everysec")
            time.sleep(0.1)
        began = time.monotonic()
        if killed:
            server.kill()
            time.sleep(self._random.uniform(0.0, 0.5))
            server.start()
        else:
            server.restart()
        self._site.away.append((began, time.monotonic()))
        return "Redis killed, fsync always" if killed else "Redis stopped, fsync everysec"

    def _cut(self) -> str:
        proxy = self._random.choice(self._site.proxies)
        what = self._random.choice(["cut", "lose", "lose", "refuse"])
        if what == "cut":
            proxy.cut()
            return "connections cut"
        if what == "lose":
            proxy.lose_replies(
                self._random.randrange(1, 4), self._random.choice([b"", b"EVALSHA", b"BLMOVE"])
            )
            return "replies lost"
        proxy.refuse()
        proxy.cut()
        time.sleep(self._random.uniform(0.0, 0.2))
        proxy.allow()
        return "network away"
