"""Waiting until replicas have what was written."""

from __future__ import annotations

from typing import Any, NamedTuple

from gearmesh.redis_scripts.cluster import Cluster
from gearmesh.redis_scripts.connections import ServerUnable
from gearmesh.wire.names import acknowledgement

__all__ = ["Replicas"]


class Replicas(NamedTuple):
    """How many are waited for (0: none), and for how many seconds."""

    number: int = 0
    seconds: float = 1.0

    def wait(self, client: Any, key: str = "") -> None:
        """Wait until ``number`` replicas have all that the server has written by now; nothing for 0.

        Args:
            client: that wrote.
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
