"""One child process, and the seat it sits in: who dies is replaced."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from gearmesh.backoff import Backoff
from gearmesh.scoreboard import Scoreboard
from gearmesh.transports.unacked import consumer_name
from gearmesh.worker.child import EXIT_CONFIG
from gearmesh.worker.control import ControlPipe
from gearmesh.worker.heartbeater import DeadChild, Heartbeater
from gearmesh.worker.options import WorkerOptions

__all__ = ["KILL_DELAY_S", "STEADY_RUN_S", "Child", "WorkerProcess", "exit_shown"]

log = logging.getLogger("gearmesh.supervisor")

#: A child that lived this many seconds was not a failed start: pauses begin anew.
STEADY_RUN_S = 60.0
#: Seconds beyond the grace time before a child that does not end is killed.
KILL_DELAY_S = 10.0


#: A process that is killed within these seconds after an isolated job began was killed by that job.
IMMEDIATE_DEATH_S = 0.2


class Child:
    """One run of the worker process.

    Args:
        spec: of the app.
        news: called when the process has ended.
        broker: the number of the broker to try first, of several: the one that the supervisor uses.
    """

    def __init__(
        self, spec: str, options: WorkerOptions, news: Callable[[], None], *, broker: int = 0
    ) -> None:
        self.consumer = consumer_name(options.consumer_tag or "")
        self.started_at = time.monotonic()
        self._oom_kills = oom_kills()
        self.board = Scoreboard.post(self.consumer, options.board_size)
        self._control = ControlPipe()
        setup = {
            "spec": spec,
            "options": dataclasses.asdict(options),
            "consumer": self.consumer,
            "broker": broker,
            "board": self.board.file,
            "control": self._control.child_end,
        }
        try:
            # A session of its own: the terminal's Ctrl-C reaches the parent alone, which passes it on once.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gearmesh.worker.child", json.dumps(setup)],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[self.board.file, self._control.child_end],
            )
        except BaseException:
            self._control.close()
            self.board.close()
            raise
        finally:
            self._control.started()

        def wait() -> None:
            self.process.wait()
            news()

        threading.Thread(target=wait, name="gearmesh-child", daemon=True).start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.returncode

    def guilty(self, code: int) -> bool:
        """What it ran brought it down. A SIGKILL may come from anybody; from the system it comes for memory's sake."""
        if code != -signal.SIGKILL or self.board.greedy or self.board.alone_for < IMMEDIATE_DEATH_S:
            return True
        kills = oom_kills()
        return kills is None or kills != self._oom_kills

    def end(self) -> None:
        """Ask it to stop; the second time, to leave now."""
        self._control.stop()

    def kill(self) -> None:
        self.process.kill()

    def close(self, *, settled: bool) -> None:
        """Release what belonged to it; it is gone. ``settled``: what it held is where it belongs."""
        self._control.close()
        self.board.close(keep=not settled)


class WorkerProcess:
    """Has a child at (nearly) all times, until it is told to end. Belongs to the supervisor's thread.

    Args:
        start: makes a child.
        lifeline: settles what dead children held.
        grace: seconds that a child gets at the first signal.
    """

    def __init__(self, start: Callable[[], Child], lifeline: Heartbeater, grace: float) -> None:
        self._start = start
        self._lifeline = lifeline
        self._grace = grace
        self._pauses = Backoff(0.1, 30.0)
        self._child: Child | None = None
        #: the last one that ended, until what it held is settled
        self._dead: tuple[Child, DeadChild] | None = None
        self._start_at = 0.0
        self._passed = 0
        self._kill_at = float("inf")
        self._overdue: list[int] = []
        #: Its child said that it would fail again in the same way.
        self.hopeless = False

    @property
    def empty(self) -> bool:
        """There is no child, and nothing of its last one is left to be settled."""
        return self._child is None and self._dead is None

    def step(self, signals: int) -> float:
        """Do what is due; seconds until it should be called again. ``signals``: how many came."""
        now = time.monotonic()
        child = self._child
        if child is not None:
            if child.code is None:
                return self._attend(child, signals, now)
            self._after_exit(child, child.code, signals, now)
        if self._dead is not None:
            dead, death = self._dead
            over = death.settled or death.abandoned
            if not over and not (signals and not self._lifeline.reached):
                return float("inf")  # news will come
            dead.close(settled=death.settled)  # if not settled: the reapers of others will do it
            self._dead = None
        if signals or self.hopeless:
            return float("inf")
        if now < self._start_at:
            return self._start_at - now
        self._child = child = self._start()
        self._passed, self._kill_at, self._overdue = 0, float("inf"), []
        self._lifeline.born(child.consumer)
        return 0.0

    def _attend(self, child: Child, signals: int, now: float) -> float:
        """Pass signals on, and kill what takes too long."""
        while self._passed < min(signals, 2):
            self._passed += 1
            child.end()
            self._kill_at = now + (self._grace if self._passed == 1 else 0.0) + KILL_DELAY_S
        if now >= self._kill_at:
            log.error("killed a worker process that did not end in time")
            child.kill()
            self._kill_at = float("inf")
        elif now >= child.board.deadline and not self._overdue:
            self._overdue = child.board.running
            log.error("a task ran into its hard time limit: its process is killed")
            child.kill()
        return self._kill_at - now

    def _after_exit(self, child: Child, code: int, signals: int, now: float) -> None:
        """It has ended: say what of it is to be settled, and when another one starts."""
        running = child.board.running
        overdue = [number for number in self._overdue if number in running]
        # Exit code 0 in the midst of a task: the task has ended the process.
        crashed = not signals and not self._overdue and (code != 0 or bool(running))
        death = DeadChild(
            child.consumer, running if crashed else (), overdue, child.guilty(code), crashed=not signals
        )
        self._lifeline.died(death)
        self._child, self._dead = None, (child, death)
        if code == EXIT_CONFIG:
            self.hopeless = True
        elif crashed:
            # A task that brings its process down is dealt with by itself (see Quarantine): the next process starts at
            # once, since all others wait for it. Growing pauses are for processes that fail to start.
            if running or now - child.started_at > STEADY_RUN_S:
                self._pauses.reset()
            pause = self._pauses.next()
            self._start_at = now + pause
            log.error("worker process ended with %s; a new one starts in %g s", exit_shown(code), pause)


def oom_kills() -> int | None:
    """How often the system has killed a process because there was no memory; None: it does not say."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def exit_shown(code: int) -> str:
    """An exit code for people."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
