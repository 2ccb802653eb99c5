"""Keeps notes by which running services report their health to probes of the same machine and user.

A note is a file in the private folder of :mod:`gearmesh.scoreboard`. It holds the time at which the service wrote it,
by the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

import msgspec

from gearmesh.scoreboard import private_folder

__all__ = ["BEAT_INTERVAL_S", "MAX_BEAT_AGE_S", "HealthFile", "HealthNote", "health_notes"]

#: Seconds between two notes of a service.
BEAT_INTERVAL_S: Final = 5.0
#: Seconds without a new note after which a service counts as dead or hanging.
MAX_BEAT_AGE_S: Final = 30.0


class HealthNote(msgspec.Struct, kw_only=True):
    """Says that a service lives, and whether it is ready, for probes to read.

    Attributes:
        pid: the id of its process.
        role: ``worker`` or ``scheduler``.
        name: the service's name.
        ready: True if the service does its work.
        reason: why it is not ready.
        at: when the note was written, in monotonic seconds.
        began: when the process began, see :func:`_began`; "": not known.
    """

    pid: int
    role: str
    name: str
    ready: bool
    reason: str = ""
    at: float
    began: str = ""

    @property
    def age_s(self) -> float:
        """Seconds since the note was written."""
        return time.monotonic() - self.at

    @property
    def lives(self) -> bool:
        """True unless the service has been silent for too long."""
        return 0 <= self.age_s <= MAX_BEAT_AGE_S


class HealthFile:
    """Writes the note of this process about its health. Writes nothing if there is no safe folder.

    Args:
        role, name: see :class:`HealthNote`.
    """

    def __init__(self, role: str, name: str) -> None:
        self._role = role
        self._name = name
        self._began = _began(os.getpid())
        folder = _folder(make=True)
        self._path = None if folder is None else folder / f"{role}-{os.getpid()}"

    def write(self, *, ready: bool, reason: str = "") -> None:
        """Write that the service lives, and whether it is ready."""
        if self._path is None:
            return
        note = HealthNote(
            pid=os.getpid(),
            role=self._role,
            name=self._name,
            ready=ready,
            reason=reason,
            at=time.monotonic(),
            began=self._began,
        )
        draft = self._path.with_suffix(".draft")
        with contextlib.suppress(OSError):  # no space: a probe then finds the note too old
            draft.write_bytes(msgspec.json.encode(note))
            draft.replace(self._path)

    def remove(self) -> None:
        """Remove the note, since the service ends."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def health_notes() -> list[HealthNote]:
    """Read the notes of all services of this machine and user whose processes exist."""
    folder = _folder()
    found = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir() if folder is not None else ()):
            if path.suffix == ".draft":
                continue
            with contextlib.suppress(OSError, msgspec.DecodeError):
                note = msgspec.json.decode(path.read_bytes(), type=HealthNote)
                if _exists(note.pid) and note.began in ("", _began(note.pid)):
                    found.append(note)
                else:
                    path.unlink(missing_ok=True)
    return found


def _began(pid: int) -> str:
    """Return the moment at which a process began, in Linux's clock ticks; "": not known.

    A service that was killed leaves its note, and another program may have its process id by now.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    # The name, in parentheses, may contain anything; the 20th field behind it is the time.
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _folder(*, make: bool = False) -> Path | None:
    above = private_folder(make=make)
    if above is None:
        return None
    folder = above / "health"
    if make:
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
    return folder
