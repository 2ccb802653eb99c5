"""Decides whether to try a publish again: yes, with growing pauses, until its time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from gearmesh.backoff import MAX_RETRY_DELAY_S, Backoff, OutageLog
from gearmesh.units import duration

__all__ = ["UntilTimeout"]

#: Seconds that a server may be unreachable before this is logged.
OUTAGE_LOG_DELAY_S = 1.0


class UntilTimeout:
    """A :data:`~.publisher.RetryDecider` that waits and says True until no time is left.

    Args:
        outage: logs that the server is unreachable.
        left: gives the seconds that are left after an error; 0 or less: give up.
        began: monotonic time of the first try.
        first: seconds of the first pause.
    """

    def __init__(
        self, outage: OutageLog, left: Callable[[BaseException], float], began: float, first: float
    ) -> None:
        self._outage = outage
        self._left = left
        self._began = began
        self._pauses = Backoff(first, MAX_RETRY_DELAY_S)

    def __call__(self, exc: BaseException) -> bool:
        left = self._left(exc)
        if left <= 0:
            return False
        if time.monotonic() - self._began >= OUTAGE_LOG_DELAY_S:
            fate = f"this call keeps trying for {duration(math.ceil(left))}"
            self._outage.failed(exc, fate, since=self._began)
        time.sleep(min(self._pauses.next(), left))
        return True
