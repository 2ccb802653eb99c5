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

#: Numbers before those of the slots: the deadline, since when an isolated job runs, whether there was too much memory,
#: and when it was first found that its process is dead (unix ns; 0: it was not).
HEADER_NUMBERS = 4
#: Seconds for which a dead process's scoreboard is kept: all leases have ended long before.
DEAD_SCOREBOARD_TTL_S = 86400.0


class Scoreboard:
    """Keeps in shared memory what a worker process runs, so that its supervisor can read it after the process died.

    A child writes a number as it begins a job and another as it ends: no call, nothing to read for the supervisor
    until it wants to know. What lies here survives the child's death, whatever it died of.

    Args:
        file: descriptor of the scoreboard's file, which is the Board's from now on; the other process maps the same.
        slots: how many jobs may run at a time.
        path: its name; None: this is not for us to remove, or it has none.
    """

    def __init__(self, file: int, slots: int, path: Path | None = None) -> None:
        self.file = file
        self._path = path
        size = 8 * (HEADER_NUMBERS + slots)
        if os.fstat(file).st_size < size:
            os.ftruncate(file, size)
        self._memory = mmap.mmap(file, size)
        self._numbers = memoryview(self._memory).cast("q")
        #: One place a slot: the fetch counter of what it runs, 0 for nothing.
        self.places = cast("MutableSequence[int]", self._numbers[HEADER_NUMBERS:])

    @classmethod
    def post(cls, consumer: str, slots: int) -> Scoreboard:
        """Make a scoreboard that others of this machine and user find by the name of its consumer.

        Its file is locked as long as this process or one that inherits the descriptor has it open. Without a
        safe folder it has no name: then others find out by the consumer's silence.
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
            # Locked before it has its name: one that is found unlocked is a dead process's.
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
            keep: leave the file to others, which see by it that its process is dead.
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
        """Seconds since this was first asked about it: to be asked of a dead process's scoreboard only."""
        if not self._numbers[3]:
            self._numbers[3] = time.time_ns()
        return (time.time_ns() - self._numbers[3]) / 1e9

    def limit(self, seconds: float) -> None:
        """Set the deadline to ``seconds`` from now; 0: none."""
        self._numbers[0] = time.monotonic_ns() + int(seconds * 1e9) if seconds else 0


class CrashReport(NamedTuple):
    """Says which deliveries a process ran when it died, and whether one of them is to blame.

    Attributes:
        running: fetch counters of what it ran.
        certain: one of those has brought it down; else it may have been killed for another reason.
    """

    running: list[int]
    certain: bool


def crash_report(consumer: bytes) -> CrashReport | None:
    """Read the crash report of a consumer whose process and supervisor are both dead.

    None: one of them lives, or that can't be known, as with those of other machines and users.
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
    """Open the scoreboard at ``path``; None: its process lives, or it is none."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return Scoreboard(file, os.fstat(file).st_size // 8 - HEADER_NUMBERS)
    except (OSError, ValueError):  # it lives; or this is no scoreboard
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

    Folders may be shared by machines, and then locks need not be: so it is a name for this machine.
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

    None: it does not exist, or another user could put false ones there.
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
