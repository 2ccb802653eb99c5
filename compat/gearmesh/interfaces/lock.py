"""The interface of locks: a lock lets one of several schedulers send a periodic task.

All methods may be called from several threads at once, and in a forked child. If the server cannot be reached they
raise one of the lock's ``connection_errors``; the caller waits and repeats the call, so each method must do no harm
when it is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Claim", "Lock"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One scheduler's request to send one firing. All moments are unix nanoseconds.

    Attributes:
        key: the lock's key, see :func:`gearmesh.wire.names.periodic_lock`.
        holder: names this firing by this scheduler; a repeated claim has the same name.
        due_ns: when the firing is due.
        next_ns: when the periodic task is due again.
        now_ns: the time by the scheduler's clock.
        keep: seconds for which the lock remembers this firing; above 0.
    """

    key: str
    holder: str
    due_ns: int
    next_ns: int
    now_ns: int
    keep: float = 86_400.0

    @property
    def value(self) -> str:
        """The text that Machinery stores under the key: the moment until which no other scheduler fires."""
        return str(self.next_ns - 1)  # Go: one ns early, so that the lock does not refuse the next firing

    @property
    def late(self) -> bool:
        """True if the task is due again by now. Machinery's key is then about that later firing."""
        return self.now_ns >= self.next_ns

    @property
    def lasts_ms(self) -> int:
        """Milliseconds for which Machinery's key lives; 1 or more."""
        return max(1, (self.next_ns - self.now_ns) // 1_000_000)

    @property
    def keep_ms(self) -> int:
        """Milliseconds for which the lock remembers this firing; not less than :attr:`lasts_ms`."""
        return max(1, int(self.keep * 1000), self.lasts_ms)


class Lock(Protocol):
    """The methods that every lock has."""

    #: Exceptions that mean "the server cannot be reached; repeat the call later".
    connection_errors: tuple[type[BaseException], ...]
    #: False if the lock forgets everything when this object ends.
    keeps: bool

    def take(self, claim: Claim) -> bool:
        """Take the right to fire: True for one holder, and again if that holder repeats the claim.

        A firing that is in time is refused while the key holds a moment not before ``due_ns``, since this firing or a
        later one was sent then; else the key is replaced. A late firing (:attr:`Claim.late`) is refused if it, or a
        later one, is known to have been sent; Machinery's key stays as it is.

        Raises:
            LockError: the key holds a value that no scheduler writes.
        """

    def fired(self, key: str) -> int | None:
        """Return the moment (unix ns) at which the last sent firing was due; None: not known, or forgotten.

        Raises:
            LockError: the key holds a value that no scheduler writes.
        """

    def begin(self, key: str, at_ns: int, keep: float) -> int:
        """Do as :meth:`fired`; if that is None, remember ``at_ns`` for ``keep`` seconds as if it had been fired."""

    def close(self) -> None:
        """Release connections; locked keys stay locked. A second call does nothing."""
