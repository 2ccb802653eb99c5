"""Retry policies: they decide which failures a worker tries again, and when, within Machinery's own rule.

A message has the number of retries left (RetryCount) and the last pause in whole seconds (RetryTimeout). Go waits for
the first Fibonacci number of seconds above RetryTimeout. So gearmesh writes the policy's pause into RetryTimeout,
rounded up and without jitter: a Go worker that gets the next try then waits for longer than the last pause. When the
task comes back to Python, the policy goes on from Go's pause.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

from gearmesh.errors import RetryRequested, TaskError
from gearmesh.wire import workflow
from gearmesh.wire.signature import Signature

__all__ = ["Retry", "cause_of", "next_try"]

#: After this many steps every backoff has reached ``most``, even with the smallest ``first``: 2**64 ms and the 64th
#: Fibonacci number of ms are more than 1e9 seconds.
MAX_BACKOFF_STEPS = 64

Exceptions = tuple[type[BaseException], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """A policy for a failing task: ``@app.task(retry=Retry(max=5, on=(IOError,)))``.

    Attributes:
        max: the number of retries; 0: none. The sender writes it into RetryCount, unless the call gives
            ``retry_count``. A worker goes by the RetryCount of the message.
        backoff: how pauses grow: ``"fibonacci"`` (1, 2, 3, 5, 8 …), ``"exponential"`` (1, 2, 4, 8 …) or ``"constant"``.
            ``first`` multiplies these numbers.
        jitter: True: each pause is a random share, between one half and all, of the pause that the backoff gives.
        on: exceptions that are tried again; all others fail at once.
        not_on: exceptions that are not tried again, although ``on`` includes them.
        first: seconds of the first pause; 0.001 or more.
        most: the longest pause in seconds; from ``first`` to 1e9.

    Raises:
        TaskError: a setting is wrong. The message names the setting, its value and the expected values.
    """

    max: int = 3
    backoff: Literal["fibonacci", "exponential", "constant"] = "fibonacci"
    jitter: bool = True
    on: Exceptions = (BaseException,)
    not_on: Exceptions = ()
    first: float = 1.0
    most: float = 3600.0

    def __post_init__(self) -> None:
        if isinstance(self.max, bool) or not isinstance(self.max, int) or not 0 <= self.max < 2**63:
            raise _wrong("max", self.max, "a whole number, 0 or more")
        if self.backoff not in ("fibonacci", "exponential", "constant"):
            raise _wrong("backoff", self.backoff, "'fibonacci', 'exponential' or 'constant'")
        if not isinstance(self.jitter, bool):
            raise _wrong("jitter", self.jitter, "True or False")
        object.__setattr__(self, "on", _exceptions("on", self.on))
        object.__setattr__(self, "not_on", _exceptions("not_on", self.not_on))
        _seconds("first", self.first, 0.001)
        _seconds("most", self.most, self.first)

    def wants(self, exc: BaseException) -> bool:
        """True if this exception is one to try again."""
        return isinstance(exc, RetryRequested) or (
            isinstance(exc, self.on) and not isinstance(exc, self.not_on)
        )

    def pause(self, step: int) -> float:
        """Seconds of pause number ``step``, without jitter. Pause 0 is before the first retry."""
        if self.backoff == "constant":
            return self.first
        if step >= MAX_BACKOFF_STEPS:
            return self.most
        factor = 2**step if self.backoff == "exponential" else _fibonacci(step)
        return min(self.first * factor, self.most)

    def step(self, count: int, timeout: int) -> int:
        """The number of the next pause.

        If ``count`` (the retries left) and ``timeout`` (the seconds of the last pause) fit this policy, it is the
        number of retries used. If they do not fit, the call gave another ``retry_count``, or a Go worker did a retry.
        Then it is the number of the first pause that is longer than the last one.
        """
        used = self.max - count
        if used >= 0 and timeout == (self.on_wire(used - 1) if used else 0):
            return used
        return next(
            (step for step in range(MAX_BACKOFF_STEPS) if self.on_wire(step) > timeout), MAX_BACKOFF_STEPS
        )

    def on_wire(self, step: int) -> int:
        """RetryTimeout after pause ``step``: whole seconds, at least 1."""
        return math.ceil(self.pause(step))

    def jittered(self, seconds: float, chance: float) -> float:
        """The seconds of a pause with jitter; ``chance`` is a random number from 0 up to 1."""
        return seconds * (0.5 + chance / 2) if self.jitter else seconds

    def again(self, sig: Signature, now_ns: int, chance: float) -> Signature:
        """The signature for one more try. The caller must have checked that RetryCount is above 0."""
        step = self.step(sig.RetryCount, sig.RetryTimeout)
        delay = self.jittered(self.pause(step), chance)
        return workflow.retried_after(sig, now_ns, int(delay * 1e9), self.on_wire(step))


def next_try(policy: Retry | None, sig: Signature, exc: BaseException, now_ns: int) -> Signature | None:
    """The signature for one more try after ``exc``; None: it has failed for good."""
    if sig.RetryCount <= 0:
        return None
    if isinstance(exc, RetryRequested) and exc.seconds is not None:
        timeout = (
            sig.RetryTimeout
            if policy is None
            else policy.on_wire(policy.step(sig.RetryCount, sig.RetryTimeout))
        )
        return workflow.retried_after(sig, now_ns, int(exc.seconds * 1e9), timeout)
    if policy is None:
        return workflow.retried(sig, now_ns)
    return policy.again(sig, now_ns, random.random()) if policy.wants(exc) else None


def cause_of(exc: BaseException) -> BaseException:
    """The exception that a task gave to ``retry()``, else ``exc`` itself."""
    return exc.error if isinstance(exc, RetryRequested) and exc.error is not None else exc


def _fibonacci(step: int) -> int:
    low, high = 1, 2
    for _ in range(step):
        low, high = high, low + high
    return low


def _wrong(name: str, value: Any, expected: str) -> TaskError:
    return TaskError(f"Retry: {name} is {value!r:.80}, expected {expected}")


def _seconds(name: str, value: Any, least: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= 1e9:  # NaN fails too
        raise _wrong(name, value, f"seconds from {least:g} to 1e9")


def _exceptions(name: str, value: Any) -> Exceptions:
    kinds = value if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise _wrong(name, value, "exception classes")
    return tuple(kinds)
