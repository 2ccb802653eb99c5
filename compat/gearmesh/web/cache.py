"""Keeps answers of servers for a second, so that many viewers cost a server no more than one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

__all__ = ["ANSWER_TTL_S", "AnswerCache"]

T = TypeVar("T")

#: Seconds for which an answer is kept and given again.
ANSWER_TTL_S: Final = 1.0
#: Number of answers that are kept at the same time.
MAX_ANSWERS: Final = 200


class AnswerCache:
    """Keeps each answer of a server for a second, by its key. It asks one question at a time, and keeps errors, too.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        #: key -> (time of the question, answer, error)
        self._answers: dict[Hashable, tuple[float, Any, Exception | None]] = {}

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the answer under ``key``; calls ``ask`` if no answer is new enough. Raises the error of ``ask``."""
        with self._lock:
            now = self._clock()
            kept = self._answers.get(key)
            if kept is None or now - kept[0] >= ANSWER_TTL_S:
                self._drop_old(now)
                kept = self._asked(key, ask)
        _, answer, error = kept
        if error is not None:
            raise error
        found: T = answer
        return found

    def clear(self) -> None:
        """Forget all answers, after an action has changed something."""
        with self._lock:
            self._answers.clear()

    def _asked(self, key: Hashable, ask: Callable[[], Any]) -> tuple[float, Any, Exception | None]:
        answer, error = None, None
        try:
            answer = ask()
        except Exception as exc:
            error = exc.with_traceback(None)
        kept = (self._clock(), answer, error)
        self._answers[key] = kept
        return kept

    def _drop_old(self, now: float) -> None:
        old = [key for key, (asked, *_) in self._answers.items() if now - asked >= ANSWER_TTL_S]
        for key in old:
            del self._answers[key]
        if len(self._answers) >= MAX_ANSWERS:
            self._answers.clear()
