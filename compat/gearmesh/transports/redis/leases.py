"""Sends heartbeats, lists the deliveries that a consumer holds, and returns those of a dead one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgpack
from redis.exceptions import ResponseError

from gearmesh.interfaces.commit import Delivery
from gearmesh.interfaces.transport import RateRequest
from gearmesh.redis_client.chunks import MAX_ENTRIES, batches
from gearmesh.redis_client.runner import run, run_each
from gearmesh.transports.redis.connection import ConnectedChannel
from gearmesh.wire.names import rate_keys

__all__ = ["Leases"]


class Leases:
    """Has the verbs for consumers and supervisors: heartbeats, held deliveries, recovery, reserved moments.

    :class:`gearmesh.interfaces.transport.Channel` describes each verb.
    """

    def __init__(self, channel: ConnectedChannel) -> None:
        self._channel = channel

    def held(self, consumer: str, queues: Iterable[str]) -> list[tuple[Delivery, bytes]]:
        found = []
        for queue in queues:
            for id_, body in self._channel.redis.hgetall(self._channel.keys(queue).held(consumer)).items():
                found.append((Delivery(queue=queue, consumer=consumer, id=int(id_)), body))
        return found

    def heartbeat(self, consumer: str, queues: Iterable[str], **how: Any) -> None:
        """Send a heartbeat to each of the queues; ``how``: see :func:`~gearmesh.redis_client.runner.run_each`."""
        calls = [(self._channel.keys(queue).consumers, [consumer]) for queue in queues]
        run_each(self._channel.redis, "beat", calls, **how)

    def recover(
        self,
        consumer: str,
        queues: Iterable[str],
        *,
        crashed: bool = False,
        running: Collection[int] | None = None,
        certain: bool = True,
    ) -> int:
        certain = certain and running is not None
        total, fault = 0, None
        for queue in queues:
            try:
                total += self.recover_queue(consumer, queue, lost=crashed, running=running, certain=certain)
            except ResponseError as exc:  # the other queues still get their messages back
                fault = fault or exc
        if fault is not None:
            raise fault
        return total

    def recover_queue(
        self,
        consumer: str,
        queue: str,
        *,
        beat: bytes = b"",
        lost: bool,
        running: Collection[int] | None = None,
        certain: bool = False,
    ) -> int:
        """Put the deliveries that ``consumer`` holds back at the head of ``queue``; return their number.

        Args:
            beat: put them back only if the consumer's heartbeat counter still has this value, and then take the
                consumer off the list; if it has another value, return -1. ``b""``: put them back in any case.
            lost: count one more loss of each message.
            running: the ids of the deliveries that ran when the consumer died; None: not known.
            certain: one of these has certainly brought its process down.
        """
        keys = self._channel.keys(queue)
        total = 0
        ran = "?" if running is None else " ".join(map(str, running))
        # While the server may still know a wait of this consumer, the wait can bring one more message, which a reaper
        # must find. So the consumer stays on the list.
        over = consumer == self._channel.consumer and not self._channel.unacked.waiting(queue)
        forget = "1" if beat or over else "0"
        while True:
            count, more = run(
                self._channel.redis,
                "recover",
                [queue, keys.held(consumer), keys.arrived(consumer), keys.consumers, keys.recovered],
                [consumer, beat, MAX_ENTRIES, "1" if lost else "0", forget, ran, int(certain)],
            )
            if count < 0:
                return total or -1
            total += int(count)
            if not more:
                return total

    def reserve(self, requests: Sequence[RateRequest]) -> list[int]:
        answers: list[int] = []
        for part in batches(requests):
            rows = [(*rate_keys(queue, task), round(pause * 1e6), body) for queue, task, pause, body in part]
            blob = msgpack.packb(rows, use_bin_type=False)
            answers += [
                int(ms) * 1_000_000 for ms in run(self._channel.redis, "admit", [part[0].queue], [blob])
            ]
        return answers
