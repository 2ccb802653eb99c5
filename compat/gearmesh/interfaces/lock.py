"""The third seam: which of several schedulers fires what is due.

Every method may be called from several threads at once, and after a fork. Connection trouble is
the lock's ``connection_errors`` (a tuple of exception classes): the caller waits and repeats; every
method here may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Claim", "Lock"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody wants to fire what is due. All moments are unix nanoseconds.

    Attributes:
        key: of the lock, see :func:`gearmesh.wire.names.periodic_lock`.
        holder: who wants it: a name of this firing by one scheduler; the same when it asks again.
        due_ns: when it was due.
        next_ns: when it is due again.
        now_ns: what the scheduler's clock shows now.
        keep: seconds for which it is remembered that this was fired; above 0.
    """

    key: str
    holder: str
    due_ns: int
    next_ns: int
    now_ns: int
    keep: float = 86_400.0

    @property
    def value(self) -> str:
        """What Machinery writes under the key: until when nobody else fires."""
        return str(self.next_ns - 1)  # Go: so that the next firing never meets it

    @property
    def late(self) -> bool:
        """It is due again by now: Machinery's key is about that one and says nothing about this one."""
        return self.now_ns >= self.next_ns

    @property
    def lasts_ms(self) -> int:
        """Milliseconds for which Machinery's key lives."""
        return max(1, (self.next_ns - self.now_ns) // 1_000_000)

    @property
    def keep_ms(self) -> int:
        return max(1, int(self.keep * 1000), self.lasts_ms)


class Lock(Protocol):
    """What every lock does."""

    #: Exceptions that mean "the server could not be reached; it may be tried again".
    connection_errors: tuple[type[BaseException], ...]
    #: False if nothing is known any more once this object is gone.
    keeps: bool

    def take(self, claim: Claim) -> bool:
        """Take the right to fire: True for one holder, and for that one again if it repeats the claim.

        In its time a firing is refused while the key holds a moment that is not before ``due_ns``, for then this one
        or a later one was fired; else the key is replaced. A late one (:attr:`Claim.late`) is refused if it, or a later
        one, is known to have been fired; Machinery's key stays as it is.

        Raises:
            LockError: the key holds something that no scheduler has written.
        """

    def fired(self, key: str) -> int | None:
        """When that was due which was fired last; None: not known (any more)."""

    def begin(self, key: str, at_ns: int, keep: float) -> int:
        """:meth:`fired`; where nothing is known, remember ``at_ns`` for ``keep`` seconds, as if that had been fired."""

    def close(self) -> None:
        """Release connections. What is locked stays so. Closing twice is fine."""
