"""Machinery's Google Pub/Sub broker as a kombu transport, with gearmesh's verbs.

A queue is a topic; a worker reads it through a subscription (:mod:`~.addresses`). A message passes through the parts in
this order:

1. :class:`~.transport.Transport` makes Pub/Sub's calls through a :class:`~.api.PubSubAPI`, whose gRPC channel a forked
   process opens anew, and ends its owner's wait when a request has ended.
2. A :class:`~.puller.Puller` keeps Pull requests on their way, for as many messages as there are free slots.
3. The :class:`~.receiver.Receiver` records due messages among the :class:`~.unacked.PubSubUnackedDeliveries` of the
   consumer. It leases a message that is not due until its time and forgets it, so thousands of them cost nothing here.
   :class:`~.notes.MessageNotes` keep the facts about a message that Pub/Sub cannot store.
4. The :class:`~.channel.Channel` gives it to the consumer's callback, one message of an ordering key at a time.
5. A :class:`~.leases.LeaseKeeper` extends the lease as long as the task runs. Pub/Sub itself gives the messages of a
   dead process to others when their leases end; with a :class:`~gearmesh.transports.journal.Journal`, the worker's
   supervisor returns them at once.
6. The worker answers with a Commit. The :class:`~.commit_engine.CommitEngine` publishes its messages, awaits Pub/Sub's
   ids, and only then acknowledges the delivery; or it leases the message for the time that the message has to wait.

Where there is a delay topic, a :class:`~.delays.DelayForwarder` publishes its due messages to their own topics.
:mod:`~.message` names the attributes that gearmesh adds; Go ignores them. The :class:`~.inspection.Inspector` lists and
purges messages for people.

kombu forces one class on this package, :class:`~.channel.Channel`: it owns the parts. Begin to read there.

No part acknowledges a delivery before Pub/Sub has the messages of its Commit, returns a delivery whose lease has ended,
waits for a message with a request that its owner cannot end, or repeats a call: the callers have their own backoff.
"""

from gearmesh.transports.pubsub.transport import Transport

__all__ = ["Transport"]
