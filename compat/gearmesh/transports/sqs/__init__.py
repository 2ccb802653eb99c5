"""Machinery's SQS broker as a kombu transport: boto3's requests, in batches, with gearmesh's verbs.

A message passes through the parts in this order:

1. :class:`~.transport.Transport` takes this process's :class:`~.client.SQSClient`, which sends all requests. Its
   :class:`~.queues.QueueDirectory` reads the attributes of each queue once.
2. The :class:`~.receiver.Receiver` asks for messages in threads of its own, while the prefetch has room: one request at
   a time waits for up to 20 s, and several run while a backlog fills them. A message whose ETA is to come goes back at
   once.
3. It records each delivery among the :class:`~.unacked.SQSUnackedDeliveries` of the consumer, with its receipt handle.
   A :class:`~.visibility.VisibilityThread` hides the message from other consumers for as long as it is unacked, and a
   :class:`~gearmesh.transports.journal.Journal` keeps it for the supervisor, should the process die.
4. :class:`~.channel.Channel` hands it to the consumer's callback as a kombu message (:mod:`~.message`).
5. The worker answers with a Commit. The :class:`~.commit_engine.CommitEngine` sends its messages (:mod:`~.sender`), and
   then settles the delivery: the :class:`~.deleter.Deleter` deletes it, or the
   :class:`~.commit_engine.MessageReturner` lets it come back, now or later.

:class:`~.inspection.Inspector` counts queues, and reads dead letters, for people. :mod:`~.errors` divides the errors of
boto3 into requests that may succeed later and requests that will not.

Begin reading with :meth:`.commit_engine.CommitEngine.commit`, then :class:`~.receiver.Receiver`.

The SQS transport must never:

- delete a message before SQS has taken the messages of its Commit;
- settle a delivery by a receipt handle whose visibility timeout is over: another consumer may hold the message;
- poll SQS where one request could wait: each request is paid;
- import boto3 before a URL asks for SQS.
"""

from __future__ import annotations

from gearmesh.transports.sqs.transport import Transport

__all__ = ["Transport"]
