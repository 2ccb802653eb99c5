"""A file of the deliveries that a worker process holds: if it dies, its supervisor settles them by their ack ids."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gearmesh.interfaces.commit import Delivery
from gearmesh.scoreboard import private_folder
from gearmesh.transports.pubsub.unacked import Unacked

__all__ = ["Journal"]

#: Bytes at which the file is written anew with what is still held.
MAX_JOURNAL_BYTES: Final = 4_000_000
#: Seconds after which the file of a process that nobody supervised to its end is removed.
JOURNAL_TTL_S: Final = 86400.0
#: Seconds for which the lease of a delivery in a dead process's file is taken to last.
ASSUMED_LEASE_S: Final = 10.0


class _Line(msgspec.Struct, array_like=True):
    """One line of the file: a delivery that is held, or, without a message, one that is settled."""

    id: int
    delivery: Delivery | None = None
    body: bytes = b""
    attributes: dict[str, str] = {}
    ordering_key: str = ""
    subscription: str = ""
    message_id: str = ""
    ack_id: str = ""
    attempt: int = 0


class Journal:
    """Records the unacked deliveries of one consumer, for another process of this machine and user.

    What is written survives the death of the process, though not that of the machine: then the leases end. Where there
    is no safe folder, or no room, nothing is recorded, and the leases end as well.
    """

    def __init__(self, consumer: str) -> None:
        self._path = _path(consumer, make=True)
        self._file: int | None = None
        self._size = 0

    def add(self, some: Sequence[Unacked]) -> None:
        """Record deliveries."""
        self._write(_line_of(each) for each in some)

    def remove(self, ids: Iterable[int], left: Sequence[Unacked]) -> None:
        """Record that deliveries are not held any more; ``left`` are those that still are."""
        if self._file is None:
            return
        if not left or self._size > MAX_JOURNAL_BYTES:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
            self._size = 0
            self._write(map(_line_of, left))
        else:
            self._write(map(_Line, ids))

    def close(self) -> None:
        """Remove the file. A second call does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            remove(self._path)

    def _write(self, lines: Iterable[_Line]) -> None:
        if self._path is None:
            return
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if not data:
            return
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            self._size += os.write(self._file, data)
        except OSError:  # no room: the leases end by themselves
            return

    @staticmethod
    def read(consumer: str) -> list[Unacked]:
        """Read the deliveries that a dead process held, in the order in which they came."""
        path = _path(consumer)
        if path is None:
            return []
        try:
            data = path.read_bytes()
        except OSError:
            return []
        found: dict[int, Unacked] = {}
        now = time.monotonic()
        for text in data.splitlines():
            try:
                line = msgspec.json.decode(text, type=_Line)
            except msgspec.DecodeError:  # the process died as it wrote
                continue
            if line.delivery is None:
                found.pop(line.id, None)
                continue
            found[line.id] = Unacked(
                delivery=line.delivery,
                body=line.body,
                attributes=line.attributes,
                ordering_key=line.ordering_key,
                subscription=line.subscription,
                message_id=line.message_id,
                ack_id=line.ack_id,
                received_at=now,
                leased_until=now + ASSUMED_LEASE_S,
                attempt=line.attempt,
            )
        return list(found.values())

    @staticmethod
    def forget(consumer: str) -> None:
        """Remove the file of a dead process."""
        remove(_path(consumer))


def remove(path: Path | None) -> None:
    """Remove a file that may be gone."""
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _line_of(held: Unacked) -> _Line:
    return _Line(
        held.delivery.id,
        held.delivery,
        held.body,
        dict(held.attributes),
        held.ordering_key,
        held.subscription,
        held.message_id,
        held.ack_id,
        held.attempt,
    )


def _path(consumer: str, *, make: bool = False) -> Path | None:
    """The file of a consumer; None: there is no safe folder."""
    folder = private_folder(make=make)
    if folder is None:
        return None
    folder = folder / "pubsub"
    if make:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            _sweep(folder)
        except OSError:
            return None
    return folder / hashlib.sha1(consumer.encode(), usedforsecurity=False).hexdigest()


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            if time.time() - path.stat().st_mtime > JOURNAL_TTL_S:
                path.unlink()
