"""Shows the jobs that a worker process runs, and if it lives, to its supervisor and to other workers of the machine."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import socket
import stat
import tempfile
import time
from collections.abc import MutableSequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

__all__ = ["CrashReport", "Scoreboard", "crash_report", "private_folder", "sweep"]

#: Numbers before those of the slots: the deadline; the start of the last isolated job; 1 if the process used too much
#: memory; and when another process first found it dead (unix ns; 0: none did).
HEADER_NUMBERS = 4
#: Seconds for which a dead process's scoreboard is kept: all leases have ended long before.
DEAD_SCOREBOARD_TTL_S = 86400.0


class Scoreboard:
    """Lists in shared memory the jobs that a worker process runs; its supervisor reads them after the process died.

    A child writes one number when a job begins and another when it ends. That takes no system call, and the supervisor
    reads the numbers only when it needs them. The memory survives the child's death, whatever the cause.

    Args:
        file: descriptor of the scoreboard's file, which :meth:`close` closes. The other process maps the same file.
        slots: how many jobs may run at a time.
        path: the file's name, which :meth:`close` removes; None: it has no name, or another process removes it.
    """

    def __init__(self, file: int, slots: int, path: Path | None = None) -> None:
        self.file = file
        self._path = path
        size = 8 * (HEADER_NUMBERS + slots)
        if os.fstat(file).st_size < size:
            os.ftruncate(file, size)
        self._memory = mmap.mmap(file, size)
        self._numbers = memoryview(self._memory).cast("q")
        #: One place for each slot: the fetch counter of the job that it runs, or 0.
        self.places = cast("MutableSequence[int]", self._numbers[HEADER_NUMBERS:])

    @classmethod
    def post(cls, consumer: str, slots: int) -> Scoreboard:
        """Make a scoreboard that other processes of this machine and user find by its consumer's name.

        Its file is locked as long as this process, or one that inherits the descriptor, has it open. Without a
        safe folder the file has no name: other workers then notice a death by the consumer's silence.
        """
        folder = private_folder(make=True)
        if folder is not None:
            with contextlib.suppress(OSError):  # no space, or no locks there
                return cls._named(folder, folder / _name(consumer.encode()), slots)
        return cls(_nameless(), slots)

    @classmethod
    def _named(cls, folder: Path, path: Path, slots: int) -> Scoreboard:
        file, draft = tempfile.mkstemp(dir=folder)
        try:
            # Lock the file before it has its name: an unlocked file belongs to a dead process.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scoreboard = cls(file, slots, path)
            os.rename(draft, path)
        except BaseException:
            os.close(file)
            os.unlink(draft)
            raise
        return scoreboard

    def close(self, *, keep: bool = False) -> None:
        """Close the file and the memory. Closing twice is fine.

        Args:
            keep: leave the file, so that other workers see that its process is dead.
        """
        if self.file < 0:  # closed here, or in the process from which this one was forked
            return
        if self._path is not None and not keep:
            with contextlib.suppress(OSError):  # another program has removed it
                self._path.unlink()
        os.close(self.file)
        self.file = -1
        cast("memoryview", self.places).release()
        self._numbers.release()
        with contextlib.suppress(BufferError):  # a view of a part of the places exists
            self._memory.close()

    @property
    def running(self) -> list[int]:
        """Fetch counters of the jobs that run."""
        return [number for number in self.places if number]

    @property
    def deadline(self) -> float:
        """The hard limit's moment, by the monotonic clock that all processes share; infinity: none."""
        return self._numbers[0] / 1e9 or float("inf")

    @property
    def alone_for(self) -> float:
        """Seconds since the last isolated job began to run; infinity: none did."""
        return (time.monotonic_ns() - self._numbers[1]) / 1e9 if self._numbers[1] else float("inf")

    def alone(self) -> None:
        """Record that an isolated job begins to run."""
        self._numbers[1] = time.monotonic_ns()

    @property
    def greedy(self) -> bool:
        """True if the process used more memory than it may."""
        return bool(self._numbers[2])

    @greedy.setter
    def greedy(self, value: bool) -> None:
        self._numbers[2] = value

    def dead_for(self) -> float:
        """Return the seconds since the first call. Call it only for the scoreboard of a dead process."""
        if not self._numbers[3]:
            self._numbers[3] = time.time_ns()
        return (time.time_ns() - self._numbers[3]) / 1e9

    def limit(self, seconds: float) -> None:
        """Set the deadline to ``seconds`` from now; 0: none."""
        self._numbers[0] = time.monotonic_ns() + int(seconds * 1e9) if seconds else 0


class CrashReport(NamedTuple):
    """Says which deliveries a process ran when it died, and whether one of them is to blame.

    Attributes:
        running: fetch counters of the jobs that it ran.
        certain: True if one of these jobs caused the death; False: there may have been another reason.
    """

    running: list[int]
    certain: bool


def crash_report(consumer: bytes) -> CrashReport | None:
    """Read the crash report of a consumer whose process and supervisor are both dead.

    None: one of the two lives, or this process cannot know, because they belong to another machine or user.
    """
    folder = private_folder()
    scoreboard = _left(folder / _name(consumer)) if folder is not None else None
    if scoreboard is None:
        return None
    try:
        return CrashReport(scoreboard.running, scoreboard.greedy)
    finally:
        scoreboard.close()


def sweep() -> None:
    """Remove the scoreboards of processes that died more than :data:`DEAD_SCOREBOARD_TTL_S` ago."""
    folder = private_folder()
    with contextlib.suppress(OSError):  # the folder is gone
        for path in folder.iterdir() if folder is not None else ():
            scoreboard = _left(path)
            if scoreboard is None:
                continue
            if scoreboard.dead_for() > DEAD_SCOREBOARD_TTL_S:
                path.unlink(missing_ok=True)
            scoreboard.close()


def _left(path: Path) -> Scoreboard | None:
    """Open the scoreboard at ``path``; None: its process lives, or the file is no scoreboard."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return Scoreboard(file, os.fstat(file).st_size // 8 - HEADER_NUMBERS)
    except (OSError, ValueError):  # the process lives, or the file is no scoreboard
        os.close(file)
        return None


def _nameless() -> int:
    """Open a file without a name, for the processes that inherit it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("gearmesh-board")
    with tempfile.TemporaryFile(prefix="gearmesh-board-") as file:
        return os.dup(file.fileno())


def _name(consumer: bytes) -> str:
    """Return a safe file name for a consumer, whose name may come from the server.

    Machines may share a folder without sharing its locks, so each machine has names of its own.
    """
    return hashlib.sha1(_machine() + b" " + consumer, usedforsecurity=False).hexdigest()


@cache
def _machine() -> bytes:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return socket.gethostname().encode()


def private_folder(*, make: bool = False) -> Path | None:
    """Return this user's folder of scoreboards and other records of processes.

    None: it does not exist, or another user could put false records there.
    """
    try:
        path = Path(tempfile.gettempdir()) / f"gearmesh-{os.getuid()}"
        if make:
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        info = path.lstat()
    except OSError:
        return None
    safe = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
    return path if safe else None
