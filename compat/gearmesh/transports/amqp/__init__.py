"""Machinery's AMQP broker as a kombu transport: py-amqp's connections and channels, with gearmesh's verbs.

A message passes through the parts in this order:

1. :class:`~.transport.Transport` opens an :class:`~.connection.AMQPConnection`. It reads frames with a
   :class:`~.frame_reader.FrameReader`, guards all parts with one lock, and ends its owner's wait when another thread
   asks for it. A :class:`~.heartbeat.HeartbeatThread` keeps it alive while its owner is busy, and returns the
   deliveries of a consumer that has been silent for a lease (``Channel.return_unacked``). RabbitMQ itself returns those
   of a connection or process that is gone.
2. The connection gives each complete delivery to its :class:`~.channel.Channel`, which records it among the
   :class:`~.unacked.AMQPUnackedDeliveries` of the consumer. That record may outlive the channel.
3. The delivery waits in the :class:`~.subscription.Subscription` of its queue, which also decides how much RabbitMQ
   may push. :class:`~.poison_records.PoisonRecords` says of a redelivered message if a process died while it ran.
4. The :class:`~.dispatch.Dispatcher` hands it to the consumer's callback as a :class:`~.message.Message`.
5. The worker answers with a Commit. The :class:`~.commit_engine.CommitEngine` publishes its messages through the
   :class:`~.publisher.ConfirmingPublisher`, awaits RabbitMQ's confirms, and only then acknowledges the delivery, with
   the few frames that an :class:`~.delivery_tags.AckTracker` chooses.

:mod:`~.topology` names the queues and their arguments, which also make RabbitMQ keep a delayed message until the next
queue has confirmed it; a :class:`~.declarer.Declarer` declares them. The
:class:`~.inspection.Inspector` counts, lists, purges and recovers messages for people and supervisors.

kombu forces one class on this package, :class:`~.channel.Channel`: it owns the parts, and gives their verbs to its
users. Begin to read there.

No part acknowledges a delivery before RabbitMQ has confirmed the messages of its Commit, and none waits for the socket
while it holds the connection's lock, except for an answer of RabbitMQ.
"""

from gearmesh.transports.amqp.transport import Transport

__all__ = ["Transport"]
