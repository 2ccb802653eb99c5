"""A file of the deliveries that a worker process holds: if it dies, its supervisor settles them.

Without the file, the deliveries would wait until their leases end, and no process would know which of them ran.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from gearmesh.interfaces.commit import Delivery
from gearmesh.scoreboard import private_folder

__all__ = ["Journal"]

#: Bytes above which the journal rewrites its file, so that the file has only the deliveries that are still held.
MAX_JOURNAL_BYTES: Final = 4_000_000
#: Seconds without a write after which another process removes a dead process' file that no supervisor has removed.
JOURNAL_TTL_S: Final = 86400.0


class _Unacked(Protocol):
    """A delivery as a transport keeps it: a dataclass or a Struct of values that JSON can represent."""

    @property
    def delivery(self) -> Delivery:
        """The delivery."""


H = TypeVar("H", bound=_Unacked)


class _Line(msgspec.Struct, Generic[H], array_like=True, omit_defaults=True):
    """One line of the file: a delivery that is held; without ``held``, the id of a delivery that is held no longer."""

    id: int
    held: H | None = None


class Journal(Generic[H]):
    """Records the unacked deliveries of one consumer, for another process of this machine and user.

    The file survives the death of the process, but not that of the machine. Where there is no safe folder or no space,
    the journal records nothing. In both cases the deliveries come back when their leases end.

    Args:
        kind: the class of the deliveries.
        transport: the transport's name; each has a folder of its own.
        consumer: the consumer.
    """

    def __init__(self, kind: type[H], transport: str, consumer: str) -> None:
        self._decoder: msgspec.json.Decoder[_Line[H]] = msgspec.json.Decoder(_Line[kind])  # type: ignore[valid-type]
        self._transport = transport
        self._name = hashlib.sha1(consumer.encode(), usedforsecurity=False).hexdigest()
        self._file: int | None = None
        self._size = 0

    def add(self, some: Iterable[H]) -> None:
        """Record deliveries."""
        self._write(_Line(held.delivery.id, held) for held in some)

    def remove(self, ids: Iterable[int], left: Iterable[H]) -> None:
        """Record that deliveries are not held any more; ``left``: all deliveries that still are."""
        if self._file is None:
            return
        left = list(left)
        if left and self._size <= MAX_JOURNAL_BYTES:
            self._write(map(_Line[H], ids))
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        self._size = 0
        self.add(left)

    def read(self) -> list[H]:
        """Read the deliveries that a dead process held, in the order in which they came."""
        found: dict[int, H] = {}
        for text in self._text().splitlines():
            try:
                line = self._decoder.decode(text)
            except msgspec.DecodeError:  # the process died while it wrote this line
                continue
            if line.held is None:
                found.pop(line.id, None)
            else:
                found[line.id] = line.held
        return list(found.values())

    def close(self) -> None:
        """Remove the file, which may be a dead process's. The next delivery makes another one."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        if (folder := self._folder()) is not None:
            with contextlib.suppress(OSError):
                (folder / self._name).unlink(missing_ok=True)

    def _text(self) -> bytes:
        folder = self._folder()
        try:
            return b"" if folder is None else (folder / self._name).read_bytes()
        except OSError:
            return b""

    def _write(self, lines: Iterable[_Line[H]]) -> None:
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if not data:
            return
        try:
            if self._file is None:
                self._file = self._open()
            if self._file is not None:
                self._size += os.write(self._file, data)
        except OSError:  # no space: the deliveries come back when their leases end
            return

    def _open(self) -> int | None:
        folder = self._folder(make=True)
        if folder is None:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
        _sweep(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(folder / self._name, flags, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)  # shows that this process lives
        return file

    def _folder(self, *, make: bool = False) -> Path | None:
        """Return the folder of the transport's journals; None: there is no safe one."""
        folder = private_folder(make=make)
        return None if folder is None else folder / self._transport


def _sweep(folder: Path) -> None:
    """Remove the old files of dead processes. A worker that was idle for long still has its file open."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it, or holds its lock
            if time.time() - path.stat().st_mtime > JOURNAL_TTL_S:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
