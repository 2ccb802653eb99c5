"""Machinery's Redis broker as a kombu transport: plain lists, which Go workers read too, and leases of gearmesh's own.

The parts, in the order in which a message passes through them:

- ``transport``: kombu's transport. It checks the server once and lets the poller deliver.
- ``poller``: waits for the sockets of all channels of a connection, in a loop of its own or in kombu's.
- ``channel``: the class that kombu forces. It holds the other parts and offers their verbs.
- ``cluster``: the channel of a Redis cluster, each queue on a node of its own.
- ``connection``: the base of the channels; their parts use nothing else of them. It makes connections and pools, and
  carries out Commits.
- ``blocking_pop``: waits on one queue with ``BLMOVE``, while the channel has room.
- ``fetching``: takes messages from the queues in turn, numbers them and gives them to the callbacks. After a lost reply
  it reclaims the deliveries that Redis holds for this consumer.
- ``message``: turns a list item into kombu's message, and back.
- ``unacked``: records the deliveries of one consumer, across its channels. ``qos`` counts them for the prefetch.
- ``leases``: sends heartbeats, lists held deliveries and returns those of a dead consumer.
- ``reaper``: finds consumers whose heartbeat stood still for a whole lease.
- ``housekeeping``: sends heartbeats, reaps, and releases delayed and parked messages when they are due.
- ``queue_faults``: counts the commands that Redis refuses for one queue, so that the other queues go on.
- ``inspection``: lists, counts and deletes messages for people. ``paging`` reads any page of them, with bounded work.

Begin with ``fetching`` and ``lua/fetch.lua``, then read ``ConnectedChannel.commit``: a fetch moves messages from the
list ``QUEUE`` into a hash of the consumer, and a Commit takes them out. ``wire/names.py`` has all keys.

A message is always in a list, a hash or a sorted set on the server; a process has only a copy. So a process that dies
loses nothing, and its deliveries go back to the head of the queue after a lease.

The package must never

- write anything for a delivery whose lease is gone: ``commit.lua`` checks that in the same step;
- settle a message before its Commit was carried out;
- let a fault of one queue keep the others from being served;
- touch the parent's connections or deliveries in a forked child.
"""

from gearmesh.transports.redis.transport import ClusterTransport, Transport
from gearmesh.transports.redis.unacked import RedisUnackedDeliveries

__all__ = ["ClusterTransport", "RedisUnackedDeliveries", "Transport"]
