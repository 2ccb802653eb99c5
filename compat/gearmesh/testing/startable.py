"""The base class of test processes that a ``with`` statement starts and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Startable"]


class Startable(ABC):
    """A context manager: it starts on entry and closes on exit, and closes at once if it cannot start."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def start(self) -> None:
        """Start, and return once it serves."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove its files. A second call does nothing."""
