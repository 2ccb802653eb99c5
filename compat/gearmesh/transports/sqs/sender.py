"""Sends messages in batches of ten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from gearmesh.batching import divided
from gearmesh.errors import LocalProtocolError
from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.errors import SQSUnavailable
from gearmesh.transports.sqs.message import OutgoingMessage
from gearmesh.transports.sqs.queues import DEFAULT_MAX_BYTES
from gearmesh.transports.sqs.visibility import BATCH_ENTRIES

__all__ = ["send"]

#: Number of attempts to send entries that SQS did not take though the request succeeded.
MAX_SEND_ATTEMPTS: Final = 3


def send(
    client: SQSClient, messages: Sequence[OutgoingMessage], taken: Callable[[OutgoingMessage], None]
) -> None:
    """Send messages, ten a request, several requests at a time; keep the order of each FIFO queue.

    Args:
        client: sends the requests.
        messages: the messages; if one of them is too large, none is sent.
        taken: called with each message that SQS has taken, perhaps from another thread, before an error is raised.

    Raises:
        LocalProtocolError: a message is too large, or SQS refuses its content.
        SQSUnavailable: SQS may or may not have the messages with which ``taken`` was not called.
    """
    by_url: dict[str, list[OutgoingMessage]] = defaultdict(list)
    for message in messages:
        message.check_size()
        by_url[message.url or message.queue.url].append(message)
    runs: list[list[Sequence[OutgoingMessage]]] = []
    for many in by_url.values():
        # A queue for larger messages may take more in one request, too.
        limit = max(DEFAULT_MAX_BYTES, many[0].queue.max_bytes)
        batches = list(divided(many, lambda message: message.size, max_items=BATCH_ENTRIES, max_bytes=limit))
        runs += [batches] if many[0].group else [[batch] for batch in batches]

    def send_run(batches: list[Sequence[OutgoingMessage]]) -> None:
        for batch in batches:
            _send_batch(client, batch, taken)

    if runs:
        client.each(send_run, runs)


def _send_batch(
    client: SQSClient, batch: Sequence[OutgoingMessage], taken: Callable[[OutgoingMessage], None]
) -> None:
    url = batch[0].url or batch[0].queue.url
    if len(batch) == 1:
        client.call("send_message", QueueUrl=url, **batch[0].request())
        taken(batch[0])
        return
    left = list(batch)
    for _ in range(MAX_SEND_ATTEMPTS):
        failed = client.call_batch("send_message_batch", url, [message.request() for message in left])
        for n, message in enumerate(left):
            if n not in failed:
                taken(message)
        if not failed:
            return
        for n, each in failed.items():
            if each.get("SenderFault"):
                raise LocalProtocolError(
                    f"SQS refuses a message for queue {left[n].queue.name!r}: {each.get('Message')} "
                    f"({each.get('Code')})"
                )
        left = [left[n] for n in failed]
        if batch[0].group:
            break  # SQS has taken messages behind it: the caller's repetition decides
    raise SQSUnavailable(f"sqs:SendMessage: {each.get('Message')} ({each.get('Code')})")
