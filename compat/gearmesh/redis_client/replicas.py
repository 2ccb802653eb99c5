"""Waits until enough replicas have the writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from gearmesh.redis_client.cluster import Cluster
from gearmesh.redis_client.connections import ServerUnable
from gearmesh.wire.names import acknowledgement

__all__ = ["Replicas"]


class Replicas(NamedTuple):
    """The number of replicas to wait for (0: none), and for how many seconds."""

    number: int = 0
    seconds: float = 1.0

    def wait(self, client: Any, key: str = "") -> None:
        """Wait until ``number`` replicas have all that the server has written by now; do nothing for 0.

        With sentinels, they must also confirm that the server is still the master: the replica that acknowledged may
        not be the one that has just become master. Sentinels learn of a failover within a second or two, so only
        waiting for all replicas is certain.

        Args:
            client: the client that wrote, which owns one connection; or a cluster's client.
            key: a key that was written; in a cluster it selects the node.

        Raises:
            ServerUnable: too few replicas acknowledged the writes within the time. They may not survive a failover:
                repeat them all.
        """
        if not self.number:
            return
        # WAIT covers only the writes of its own connection, and those before them. So this connection writes once more:
        # WAIT then covers the writes of all other connections, too, also if a repetition found everything done.
        if isinstance(client, Cluster):
            client = client.node(key)
        with client.pipeline(transaction=False) as pipe:
            pipe.set(acknowledgement(key), b"", px=1000)
            pipe.execute_command("WAIT", self.number, int(self.seconds * 1000))
            _, have = pipe.execute()
        if have < self.number:
            raise ServerUnable(
                f"{have} of {self.number} replicas (redis.replicas_ack) acknowledged the writes within "
                f"{self.seconds:g} s"
            )
        confirm = getattr(client.connection, "confirm", None)
        if confirm is not None:
            confirm()

    @contextmanager
    def waited_for(self, client: Any, key: str = "") -> Iterator[Any]:
        """Yield a client to write with, and wait for the replicas at the end; see :meth:`wait`."""
        if not self.number or isinstance(client, Cluster):
            yield client
            self.wait(client, key)
            return
        own = client.client()
        try:
            yield own
            self.wait(own, key)
        finally:
            own.close()
