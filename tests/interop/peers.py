"""Starts peers of either side and keeps those that are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from gearmesh.testing.peerproc import PeerProcess

from .scenarios import Side


@dataclass(frozen=True)
class Pair:
    """A client and a worker on one database, and the worker's queue."""

    url: str
    queue: str
    client: PeerProcess
    worker: PeerProcess


class Peers:
    """See the fixtures ``peers`` and ``start_peer``.

    Args:
        programs: the command line of each side.
        fresh_url: gives the URL of an unused database.
        stack: ends the peers.
        abrupt: end the peers with SIGKILL; no test uses the keys and messages that they leave.
    """

    def __init__(
        self,
        programs: Mapping[str, Sequence[str]],
        fresh_url: Callable[[], str],
        stack: ExitStack,
        *,
        abrupt: bool = False,
    ) -> None:
        self._programs = programs
        self._fresh_url = fresh_url
        self._stack = stack
        self._abrupt = abrupt
        self._pairs: dict[tuple[Side, Side, str, Callable[[], str]], Pair] = {}
        self._clients: dict[tuple[Side, str], PeerProcess] = {}

    def start(self, side: Side, url: str, *flags: str) -> PeerProcess:
        """Start a peer and wait until it is ready."""
        peer = self.launch(side, url, *flags)
        peer.wait_ready()
        return peer

    def launch(self, side: Side, url: str, *flags: str) -> PeerProcess:
        """Start a peer; ``wait_ready`` is the caller's."""
        peer = PeerProcess([*self._programs[side], "-broker", url, "-backend", url, *flags])
        self._stack.callback(peer.close)
        if self._abrupt:
            self._stack.callback(peer.kill)
        peer.launch()
        return peer

    def pair(
        self, client: Side, worker: Side, backend: str = "", broker: Callable[[], str] | None = None
    ) -> Pair:
        """The client and the worker that the scenarios of these two sides share.

        ``backend``: the URL of their result backend; ``""``: the broker. ``broker``: gives the URL of an unused
        one; None: of a Redis.
        """
        broker = broker or self._fresh_url
        found = self._pairs.get((client, worker, backend, broker))
        if found is None:
            url, queue = broker(), f"{client}-to-{worker}"
            flags = ("-backend", backend) if backend else ()
            ends = [
                self.launch(side, url, "-mode", mode, "-queue", queue, *flags)
                for side, mode in ((client, "client"), (worker, "worker"))
            ]
            for end in ends:
                end.wait_ready()
            found = self._pairs[client, worker, backend, broker] = Pair(url, queue, *ends)
        return found

    def client(self, side: Side, url: str) -> PeerProcess:
        """Return the shared client of a side on a database; no worker reads its default queue."""
        found = self._clients.get((side, url))
        if found is None:
            found = self._clients[side, url] = self.start(
                side, url, "-mode", "client", "-queue", f"nobody-{side}"
            )
        return found
