"""Remembers which of several brokers a process uses; importing it does not load kombu, which takes a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["BrokerChoice", "BrokerEndpoint"]


class BrokerChoice:
    """Remembers which of an app's brokers the connections with this choice use.

    A broker stays chosen until a new connection to it fails. So a broker that was unreachable and comes back changes
    nothing for a process that has turned to another one.

    Args:
        index: the number of the URL to begin with; 0 is the first.
        follower: another choice, which takes over each change of this one; None: no other.
    """

    def __init__(self, index: int = 0, follower: BrokerChoice | None = None) -> None:
        self.index = index
        self._follower = follower

    def use(self, index: int) -> None:
        """Choose the broker of this number, which a connection has reached."""
        self.index = index
        if self._follower is not None:
            self._follower.use(index)


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    """One broker URL in the form that kombu takes.

    Attributes:
        shown: the URL without its password, for logs.
        params: keyword arguments of ``kombu.Connection``, without the transport's options.
        options: the transport's options.
    """

    shown: str
    params: dict[str, Any]
    options: dict[str, Any]
