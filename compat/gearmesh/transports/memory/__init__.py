"""``memory://NAME``: a broker inside this process, with the same semantics as the Redis transport.

All connections of one process that name it share one broker, and so may threads. It lives as long
as a :class:`kombu.Connection` made for it, open or closed: with the last one, what it held is gone.
A forked child has a copy.
"""

from __future__ import annotations

from gearmesh.transports.memory.broker import Broker, States
from gearmesh.transports.memory.channel import Channel
from gearmesh.transports.memory.transport import Transport

__all__ = ["Broker", "Channel", "States", "Transport"]
