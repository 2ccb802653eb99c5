"""Celery over the bridge, and Celery's own Redis transport, in turn on one Redis."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from bench_report import report

from gearmesh.testing.peerproc import PeerProcess

#: Prefork processes of a worker.
PROCESSES = 2
#: The database of each, so that neither sees the other's keys.
DBS = {"stock": 5, "bridge": 6}
#: Calls in one turn of publishing, and turns of each in a round.
TURN, TURNS = 200, 10
#: The number of round trips, of which the benchmark reports the median.
TRIPS = 300


class CeleryBench:
    """Publishing and working of both, and Go's wait for a Celery task if the environment names a peer.

    A rate of working is taken between 90 % and 10 % of the backlog, so that starting does not count.
    """

    def __init__(self, url: str, tasks: int, rounds: int, *, working: bool = True) -> None:
        self.url, self.tasks, self.rounds, self.working = url, tasks // 4, rounds, working

    def run(self) -> None:
        self.publish()
        if not self.working:
            return
        worked: dict[str, list[float]] = {how: [] for how in DBS}
        for _ in range(self.rounds):
            for how in DBS:
                with self.fresh(how) as client:
                    self.backlog(how)
                    with self.worker(how):
                        worked[how].append(self.work(client))
        self.compare(f"work, prefork, {PROCESSES} processes", worked)
        if peer := os.environ.get("GEARMESH_PEER"):
            for pool in ("threads", "prefork"):
                self.round_trip(peer, pool)

    def compare(self, what: str, rates: dict[str, list[float]]) -> None:
        stock, bridge = (statistics.median(rates[how]) for how in ("stock", "bridge"))
        report(f"{what}: Celery's own transport", f"{stock:,.0f} /s")
        report(f"{what}: over the bridge", f"{bridge:,.0f} /s")
        ratios = [one / other for one, other in zip(rates["bridge"], rates["stock"], strict=True)]
        report("  the bridge's / Celery's own", f"{bridge / stock:.2f}")
        report("    turn by turn, median", f"{statistics.median(ratios):.2f}")
        report("    in how many of them it was 1 or more", f"{sum(r >= 1 for r in ratios)} of {len(ratios)}")

    def publish(self) -> None:
        """Measure both publishers in short turns, so that other load of the machine slows both equally."""
        rates: dict[str, list[float]] = {how: [] for how in DBS}
        spent: dict[str, list[float]] = {how: [] for how in DBS}
        with ExitStack() as stack:
            publishers = {how: stack.enter_context(self.publisher(how)) for how in DBS}
            for turn in range(TURNS * self.rounds):
                for how in sorted(DBS, reverse=bool(turn % 2)):
                    rate, microseconds = publishers[how]()
                    rates[how].append(rate)
                    spent[how].append(microseconds)
        self.compare("delay()", rates)
        for how, name in (("stock", "Celery's own transport"), ("bridge", "over the bridge")):
            report(f"  CPU of the publisher, {name}", f"{statistics.median(spent[how]):,.0f} us")

    @contextmanager
    def publisher(self, how: str) -> Iterator[Callable[[], tuple[float, float]]]:
        """A process that publishes; called, it does so :data:`TURN` times: tasks a second, microseconds of CPU each."""
        code = (
            "import sys, time; from bench_celery_app import add\n"
            "for line in sys.stdin:\n"
            "    start, cpu = time.perf_counter(), time.process_time()\n"
            f"    for n in range({TURN}): add.delay(n, 2)\n"
            "    print(time.perf_counter() - start, time.process_time() - cpu, flush=True)\n"
        )
        with (
            self.fresh(how) as client,
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=HERE,
                env=self.environment(how),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            question, answer = process.stdin, process.stdout

            def turn() -> tuple[float, float]:
                print(file=question, flush=True)
                wall, cpu = map(float, answer.readline().split())
                client.flushdb()
                return TURN / wall, cpu / TURN * 1e6

            turn()  # connects
            yield turn
            question.close()

    def backlog(self, how: str) -> None:
        code = f"from bench_celery_app import add\nfor n in range({self.tasks}): add.delay(n, 2)"
        subprocess.run([sys.executable, "-c", code], cwd=HERE, env=self.environment(how), check=True)

    def work(self, client: redis.Redis) -> float:
        seen: list[tuple[float, int]] = []
        while True:
            seen.append((time.perf_counter(), int(client.llen("celery"))))  # type: ignore[arg-type]
            if not seen[-1][1]:
                break
            time.sleep(0.005)
        middle = [row for row in seen if self.tasks * 0.1 < row[1] < self.tasks * 0.9]
        return (middle[0][1] - middle[-1][1]) / (middle[-1][0] - middle[0][0])

    def round_trip(self, peer: str, pool: str) -> None:
        """From Go's SendTask to the end of its Get, as Go measures it."""
        with self.fresh("bridge") as client, self.worker("bridge", pool):
            url = self.url_of("bridge")
            flags = ["-mode", "client", "-broker", url, "-backend", url, "-queue", "go_tasks"]
            args = [{"Name": "", "Type": "int64", "Value": n} for n in (1, 2)]
            call = {"Name": "add", "RoutingKey": "celery", "Args": args}
            with PeerProcess([peer, *flags, "-log", "error"]) as process:
                process.ask(Op="call", Sig=call)  # the worker is up
                times = []
                for _ in range(TRIPS):
                    start = time.perf_counter()
                    process.ask(Op="call", Sig=call)
                    times.append((time.perf_counter() - start) * 1000)
            client.flushdb()
        times.sort()
        report(f"Go → Celery → Go, {pool}, p50", f"{times[TRIPS // 2]:.2f} ms")
        report("  p99", f"{times[TRIPS * 99 // 100]:.2f} ms")

    # -- parts of both

    def url_of(self, how: str) -> str:
        return f"{self.url.rsplit('/', 1)[0]}/{DBS[how]}"

    def environment(self, how: str) -> dict[str, str]:
        return {**os.environ, "GEARMESH_BENCH_URL": self.url_of(how), "GEARMESH_BENCH_CELERY": how}

    @contextmanager
    def fresh(self, how: str) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(self.url_of(how)) as client:
            client.flushdb()
            yield client

    @contextmanager
    def worker(self, how: str, pool: str = "prefork") -> Iterator[None]:
        command = [sys.executable, "-m", "celery", "-A", "bench_celery_app", "worker", "-P", pool]
        process = subprocess.Popen(
            [*command, "-c", str(PROCESSES), "-l", "error", "--without-gossip", "--without-mingle"],
            cwd=HERE,
            env=self.environment(how),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except (
                subprocess.TimeoutExpired
            ):  # Celery may wait for its pool without end, also on its own transport
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)


HERE = str(Path(__file__).parent)
