"""Sends the calls of several callers in one batch, in which each call succeeds or fails by itself."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from gearmesh.app.in_flight import InFlight
from gearmesh.app.pending_call import PendingCall, finish
from gearmesh.app.publisher_pool import PublisherConnection
from gearmesh.errors import PublishError

__all__ = ["CombinedBatch"]


class CombinedBatch:
    """Sends calls together over one connection, and wakes each caller as soon as its call is confirmed.

    It does not wait for a queue that refuses messages: each caller does that for its own call.
    """

    def __init__(self, connection: PublisherConnection, calls: Sequence[PendingCall]) -> None:
        self._calls = {id(call.commit): call for call in calls}
        self._in_flight = InFlight(connection, [[call.commit for call in calls]], waits=False)

    @property
    def unconfirmed(self) -> list[PendingCall]:
        """The calls that the broker has not confirmed, without those that have ended."""
        return [self._calls[id(commit)] for commit in self._in_flight.left]

    def flush(self) -> None:
        """Send the calls that are not confirmed. Raises the errors of the broker and the backend."""
        try:
            self._in_flight.flush()
        except Exception:
            left = {id(commit) for commit in self._in_flight.left}
            finish(call for key, call in self._calls.items() if key not in left)
            raise
        finish(self._calls.values())

    def take_overdue(self, before: float) -> list[PendingCall]:
        """Take out the calls that were made before this monotonic time, and return them."""
        late = [call for call in self.unconfirmed if call.began <= before]
        self._in_flight.drop({id(call.commit) for call in late})
        return late

    def part(self, exc: Exception) -> None:
        """Make each caller send its call by itself, after an error that is no connection error."""
        # A queue that refuses a message does not have it. After any other error it may have the message.
        refused = isinstance(exc, PublishError) and exc.__cause__ is None
        for call in self.unconfirmed:
            call.alone = call.commit if refused else replace(call.commit, again=True)
        finish(self._calls.values())
