"""Stores the members of a group that gearmesh has sent: in a queue with one message, which Go does not know."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

import amqp

from gearmesh.backends.amqp.connection_pool import ResultChannel, StateMessage
from gearmesh.backends.amqp.layout import Layout
from gearmesh.backends.amqp.states import REREAD_DELAYS_S
from gearmesh.backends.documents import meta_from
from gearmesh.wire.codec import encode_group
from gearmesh.wire.names import group_meta_queue
from gearmesh.wire.state import GroupMeta

__all__ = ["read", "store"]

#: Pauses before an empty queue is read again. Another reader holds the message for a round trip, which may be long; and
#: a chord's callback would get its results in another order if the meta was not found.
META_REREAD_DELAYS_S: Final = (*REREAD_DELAYS_S, 0.1, 0.4)


def store(channel: ResultChannel, layout: Layout, meta: GroupMeta) -> None:
    """Store a meta, and the trigger if it is taken."""
    queue = group_meta_queue(meta.GroupUUID)
    declare = partial(layout.declare, name=queue)
    channel.publish_each([StateMessage("", queue, encode_group(meta), declare)])
    if meta.ChordTriggered:
        layout.take_trigger(channel, meta.GroupUUID, "")


def read(channel: ResultChannel, group_uuid: str) -> GroupMeta | None:
    """Return the meta that :func:`store` stored last; None: there is no meta, for example because Go sent the group."""
    for pause in (0.0, *META_REREAD_DELAYS_S):
        if pause:
            time.sleep(pause)
        try:
            held = channel.take_all(group_meta_queue(group_uuid), 1)
        except amqp.NotFound:
            channel.prepare()
            return None
        if held:
            for got in held[:-1]:
                channel.basic_ack(got.tag)
            channel.basic_reject(held[-1].tag, requeue=True)
            return meta_from(group_uuid, held[-1].body)
    return None
