"""The base class of test processes that a ``with`` statement starts and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Startable"]


class Startable(ABC):
    """A context manager that calls ``start`` on entry and ``close`` on exit, or if ``start`` raises an error."""

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
        """Start the process, and return when it serves."""

    @abstractmethod
    def close(self) -> None:
        """End the process and remove its files. A second call does nothing."""
