"""Waiting until replicas have what was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from gearmesh.redis_client.cluster import Cluster
from gearmesh.redis_client.connections import ServerUnable
from gearmesh.wire.names import acknowledgement

__all__ = ["Replicas"]


class Replicas(NamedTuple):
    """How many are waited for (0: none), and for how many seconds."""

    number: int = 0
    seconds: float = 1.0

    def wait(self, client: Any, key: str = "") -> None:
        """Wait until ``number`` replicas have all that the server has written by now; nothing for 0.

        The sentinels, if there are any, have to say besides that it is still the master: the replica that answered may
        not be the one that has just taken over. They learn of that within a second or two: only if all replicas are
        waited for, it is sure.

        Args:
            client: that wrote, with one connection of its own; or of a cluster.
            key: what was written; in a cluster it tells the node.

        Raises:
            ServerUnable: not within the time. Whether it will survive a failover is unknown: repeat it all.
        """
        if not self.number:
            return
        # WAIT is about what its own connection wrote last. A write of its own, behind all others, makes that true
        # whichever connection wrote, and for a repetition that found everything done.
        if isinstance(client, Cluster):
            client = client.node(key)
        with client.pipeline(transaction=False) as pipe:
            pipe.set(acknowledgement(key), b"", px=1000)
            pipe.execute_command("WAIT", self.number, int(self.seconds * 1000))
            _, have = pipe.execute()
        if have < self.number:
            raise ServerUnable(
                f"{have} of {self.number} replicas (redis.replicas_ack) have what was written within "
                f"{self.seconds:g} s"
            )
        confirm = getattr(client.connection, "confirm", None)
        if confirm is not None:
            confirm()

    @contextmanager
    def waited_for(self, client: Any, key: str = "") -> Iterator[Any]:
        """A client to write with, of which the replicas know at the end; see :meth:`wait`."""
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
