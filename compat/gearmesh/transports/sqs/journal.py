"""A file of the deliveries that a worker process holds: if it dies, its supervisor settles them.

Without it they would wait for their visibility timeouts, and no one could tell which of them ran.
"""

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
from gearmesh.transports.sqs.queues import SQSQueue
from gearmesh.transports.sqs.unacked import Unacked

__all__ = ["Journal"]

#: Bytes at which the file is written anew with what is still held.
MAX_JOURNAL_BYTES: Final = 4_000_000
#: Seconds after which the file of a process that nobody supervised to its end is removed.
JOURNAL_TTL_S: Final = 86400.0
#: Seconds for which a dead process's messages are taken to be hidden still, if half their timeout is not shorter.
ASSUMED_HIDDEN_S: Final = 10.0


class _Line(msgspec.Struct, array_like=True):
    """One line of the file: a delivery that is held, or, without a queue, one that is settled."""

    id: int
    delivery: Delivery | None = None
    queue: SQSQueue | None = None
    body: bytes = b""
    attributes: dict[str, str] = {}
    receipt: str = ""
    group: str = ""
    receives: int = 1
    first_at: float = 0.0
    sent_at: float = 0.0
    received_at: float = 0.0
    hidden_s: int = 0


class Journal:
    """Records the unacked deliveries of one consumer, for another process of this machine and user.

    What is written survives the death of the process, though not that of the machine. Where there is no safe folder, or
    no room, nothing is recorded, and the messages come back when their visibility timeouts are over.
    """

    def __init__(self, consumer: str) -> None:
        self._path = _path(consumer, make=True)
        self._file: int | None = None
        self._size = 0

    def add(self, held: Unacked) -> None:
        """Record a delivery."""
        self._write([_line_of(held)])

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

    def _write(self, lines: Iterable[_Line]) -> None:
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if self._path is None or not data:
            return
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            self._size += os.write(self._file, data)
        except OSError:  # no room
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
        for text in data.splitlines():
            try:
                line = msgspec.json.decode(text, type=_Line)
            except msgspec.DecodeError:  # the process died as it wrote
                continue
            if line.delivery is None or line.queue is None:
                found.pop(line.id, None)
            else:
                found[line.id] = _unacked_of(line, line.delivery, line.queue)
        return list(found.values())

    @staticmethod
    def forget(consumer: str) -> None:
        """Remove the file of a consumer."""
        path = _path(consumer)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _line_of(held: Unacked) -> _Line:
    return _Line(
        held.delivery.id,
        held.delivery,
        held.queue,
        held.body,
        held.attributes,
        held.receipt,
        held.group,
        held.receives,
        held.first_at,
        held.sent_at,
        held.received_at,
        held.hidden_s,
    )


def _unacked_of(line: _Line, delivery: Delivery, queue: SQSQueue) -> Unacked:
    # The process had extended the timeout before half of it was over.
    visible_at = time.monotonic() + min(ASSUMED_HIDDEN_S, line.hidden_s / 2)
    return Unacked(
        delivery,
        queue,
        line.body,
        line.attributes,
        line.receipt,
        line.group,
        line.receives,
        line.first_at,
        line.sent_at,
        line.received_at,
        line.hidden_s,
        visible_at,
    )


def _path(consumer: str, *, make: bool = False) -> Path | None:
    """The file of a consumer; None: there is no safe folder."""
    folder = private_folder(make=make)
    if folder is None:
        return None
    folder = folder / "sqs"
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
