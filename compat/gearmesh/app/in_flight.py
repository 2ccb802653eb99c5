"""The batches that one connection sends under one token, until the broker has confirmed them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gearmesh.app.publisher_pool import PublisherConnection
from gearmesh.interfaces.commit import Commit

__all__ = ["InFlight"]


class InFlight:
    """Sends batches, and remembers which of their messages the broker has confirmed.

    A repetition sends only batches that an earlier try had begun, since no others can have been sent. It leaves out the
    messages that the broker has confirmed.

    Args:
        connection: the connection, which no other thread uses meanwhile.
        batches: the Commits, each with one message.
        waits: False raises at once if a queue refuses messages, instead of sending them again for a while.
    """

    def __init__(
        self, connection: PublisherConnection, batches: Sequence[Sequence[Commit]], *, waits: bool = True
    ) -> None:
        self._connection = connection
        self._token = connection.token()
        self._waits = waits
        #: The Commits of each batch that are not confirmed.
        self._left = [list(batch) for batch in batches]
        #: The number of batches whose PENDING states are written. They are written only once, since a repetition could
        #: replace a state that a quick worker has written since.
        self._written = 0
        #: The messages of the current try, each with the place of its batch.
        self._sent: list[tuple[int, Commit]] = []
        #: The number of messages that the broker has confirmed.
        self.confirmed = 0

    @property
    def begun(self) -> int:
        """The number of batches that were begun; the number of all if they go together, or if none was begun yet."""
        return self._written or len(self._left)

    @property
    def left(self) -> list[Commit]:
        """The Commits that are not confirmed."""
        return self._left[0] if len(self._left) == 1 else [commit for batch in self._left for commit in batch]

    def drop(self, commits: Collection[int]) -> None:
        """Leave the Commits with these ``id()`` out of repetitions.

        The rest may be sent under the same token: before, the broker took the whole batch or nothing of it.
        """
        self._left = [[commit for commit in batch if id(commit) not in commits] for batch in self._left]

    def flush(self) -> None:
        """Send the Commits that are left. After an error the outcome is unknown, and the connection is closed."""
        try:
            flusher = self._connection.flusher()
            if flusher.atomic:
                flusher.flush(self.left, self._token)
            elif flusher.streaming is None:
                flusher.flush([commit for batch in self._chunks() for commit in batch], self._token)
            else:
                again = self._written > 0
                flusher.streaming.stream(self._chunks(), self._confirm, again=again, waits=self._waits)
        except Exception:
            self._connection.close()
            raise

    def _chunks(self) -> Iterator[list[Commit]]:
        self._sent = []
        for place in range(self.begun):
            batch = self._left[place]
            if place == self._written:
                if states := [state for commit in batch for state in commit.states]:
                    self._connection.backend.write(states)
                self._written += 1
            self._sent += [(place, commit) for commit in batch]
            yield [Commit(publishes=commit.publishes, again=commit.again) for commit in batch]

    def _confirm(self, confirmed: Collection[int]) -> None:
        """Remember that the broker has confirmed the messages at these places of the current try."""
        self.confirmed += len(confirmed)
        # Only the batches of this try: it may have ended before it came to later ones that an earlier try had begun.
        for place in {place for place, _ in self._sent}:
            self._left[place] = []
        for at, (place, commit) in enumerate(self._sent):
            if at not in confirmed:
                self._left[place].append(commit)
        self._sent = []
