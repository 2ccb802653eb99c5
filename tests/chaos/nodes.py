"""Worker processes under test: started as users start them, killed by process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

import gearmesh
from gearmesh.testing.waiting import eventually

__all__ = ["Node"]

HERE = Path(__file__).parent


class Node:
    """One ``python -m gearmesh worker`` with its child.

    Args:
        broker: the URL it connects to.
        counts: port of the Redis that counts.
        log: file its output is appended to.
        concurrency: tasks at a time.
        lease, grace: seconds.
        skew: seconds by which its wall clock is wrong.
        options: more words of the command line.
        backend: the URL of where states go; "": the broker.
        redis: settings of Redis connections; None: the defaults.
        machine: a folder for temporary files. Workers that share it take each other for processes of one machine;
            "": the folder of this machine.
    """

    def __init__(
        self,
        broker: str,
        counts: int,
        log: Path,
        *,
        concurrency: int = 4,
        lease: float = 3.0,
        grace: float = 30.0,
        skew: float = 0.0,
        options: Sequence[str] = (),
        backend: str = "",
        redis: Mapping[str, object] | None = None,
        machine: str = "",
    ) -> None:
        self.log = log
        self.concurrency = concurrency
        self._command = [sys.executable, "-m", "gearmesh", "worker", "chaos_app:app"]
        self._command += ["-c", str(concurrency), "--lease", str(lease), "--grace", str(grace)]
        self._command += ["--wait-for-broker", *options]
        self._env = os.environ | {
            "CHAOS_BROKER": broker,
            "CHAOS_BACKEND": backend,
            "CHAOS_COUNTS": str(counts),
            "CHAOS_REDIS": json.dumps(redis or {}),
            "CHAOS_SKEW": str(skew),
            "PYTHONPATH": str(Path(gearmesh.__file__).parent.parent),
        }
        if machine:
            self._env["TMPDIR"] = machine
        self._process: subprocess.Popen[bytes] | None = None
        #: children that were ever seen; some may outlive their supervisor
        self._children: dict[int, psutil.Process] = {}
        #: process id -> monotonic time at which it was killed
        self.killed: dict[int, float] = {}
        #: (its supervisor's process id, that time)
        self.kills: list[tuple[int, float]] = []

    def start(self) -> Node:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=HERE,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._note(f"started {self.pid}")
        return self

    @property
    def running(self) -> bool:
        """The supervisor is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The supervisor's exit code; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def child(self) -> int | None:
        """Return the child's process id, or None if there is no child just now."""
        if not self.running:
            return None
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if "gearmesh.worker.child" in process.cmdline():
                        self._children[process.pid] = process
                        return process.pid
        return None

    def wait_for_child(self) -> int:
        """The child's process id, once there is one."""
        pid = eventually(self.child, what="a child")
        assert pid is not None
        return pid

    def kill_child(self) -> bool:
        """Send SIGKILL to the child; return False if there is no child just now."""
        child = self.child()
        if child is None:
            return False
        self._kill(child)
        return True

    def kill_supervisor(self) -> None:
        """SIGKILL to the supervisor alone; its child notices."""
        if self.running:
            self._note(f"SIGKILL to the supervisor of {self.child()}")
            os.kill(self.pid, signal.SIGKILL)
            assert self._process is not None
            self._process.wait()

    def kill_both(self) -> None:
        """Send SIGKILL to both, the supervisor first, so that it cannot settle the child's unacked messages."""
        child = self.child()
        self.kill_supervisor()
        if child is not None:
            self._kill(child)

    def _kill(self, child: int) -> None:
        self.killed[child] = time.monotonic()
        self.kills.append((self.pid, self.killed[child]))
        self._note(f"SIGKILL to the child {child}")
        self._children[child].kill()

    def _note(self, text: str) -> None:
        """A line of the test's in the worker's log."""
        with self.log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}.... the test: {text}\n")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """SIGSTOP to both."""
        child = self.wait_for_child()
        os.kill(self.pid, signal.SIGSTOP)
        os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to both."""
        for process in self._children.values():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        os.kill(self.pid, signal.SIGCONT)

    def stop(self, timeout: float = 40.0) -> float:
        """SIGTERM; the seconds until it was gone."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 40.0) -> float:
        """Wait until the supervisor has ended; the seconds that took."""
        began = time.monotonic()
        assert self._process is not None
        self._process.wait(timeout)
        return time.monotonic() - began

    def cpu(self) -> float:
        """Return the seconds of CPU that supervisor and child have used, to the nanosecond.

        This reads the CPU clock of each process, since /proc counts in hundredths of a second: three of those are half
        a percent of six seconds. The number of that clock on Linux is ``(~pid << 3) | 2``, the result of
        clock_getcpuclockid, which Python does not offer.
        """
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in (self.pid, self.wait_for_child()))

    def close(self) -> None:
        """End everything that was ever started here."""
        self.child()
        if self.running:
            assert self._process is not None
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
        for process in self._children.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: not any(map(_lives, self._children.values())), 5, "the end of all children")

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _lives(process: psutil.Process) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
