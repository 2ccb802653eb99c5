"""Deletes acknowledged messages in batches of ten."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from gearmesh.transports.sqs.client import SQSClient
from gearmesh.transports.sqs.errors import SQSRefused, SQSUnavailable
from gearmesh.transports.sqs.unacked import Unacked
from gearmesh.transports.sqs.visibility import BATCH_ENTRIES, check_fault, chunks_of
from gearmesh.units import counted

__all__ = ["LINGER_S", "Deleter", "delete"]

log = logging.getLogger("gearmesh.sqs")

#: Seconds for which an acknowledged message waits for nine others, so that one request deletes ten.
LINGER_S: Final = 0.05
#: Seconds without work after which the thread ends; the next message starts another.
IDLE_S: Final = 10.0
#: Seconds before the thread repeats a request that failed.
RETRY_S: Final = 1.0


def delete(client: SQSClient, many: Iterable[Unacked]) -> list[Unacked]:
    """Delete messages, ten a request, several requests at a time.

    Returns the deliveries whose receipt handles SQS does not know any more.

    Raises:
        SQSUnavailable: some messages may not be deleted. The caller may repeat the call.
    """

    def send(chunk: list[Unacked]) -> list[Unacked]:
        entries = [{"ReceiptHandle": held.receipt} for held in chunk]
        failed = client.call_batch("delete_message_batch", chunk[0].queue.url, entries)
        check_fault(failed.values(), "sqs:DeleteMessage")
        return [chunk[n] for n in failed]

    chunks = chunks_of(many)
    return [held for part in client.each(send, chunks) for held in part] if chunks else []


class Deleter:
    """Deletes messages whose tasks have ended, in a thread of its own, a moment after they were acknowledged.

    If the process is killed in that moment, SQS delivers the message again. The worker that gets it finds the stored
    result, and does not run the task.

    Args:
        client: sends the requests.
    """

    def __init__(self, client: SQSClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: list[Unacked] = []
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, many: Sequence[Unacked]) -> None:
        """Delete messages: full batches of ten now, in this thread, and the rest soon."""
        with self._lock:
            self._waiting += many
            count = len(self._waiting) - len(self._waiting) % BATCH_ENTRIES
            now, self._waiting = self._waiting[:count], self._waiting[count:]
            left = bool(self._waiting)
            if left and self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="gearmesh-sqs-deleter", daemon=True)
                self._thread.start()
        if left:
            self._news.set()
        self._delete(now)

    def flush(self) -> None:
        """Delete all waiting messages now."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self._delete(waiting)

    def _loop(self) -> None:
        while True:
            if not self._news.wait(IDLE_S):
                with self._lock:
                    if not self._waiting:
                        self._thread = None
                        return
            self._news.clear()
            time.sleep(LINGER_S)
            self.flush()
            if self._waiting:  # SQS was not reached
                time.sleep(RETRY_S)
                self._news.set()

    def _delete(self, many: Sequence[Unacked]) -> None:
        """Delete messages; keep them for another try if the request fails."""
        if not many:
            return
        try:
            lost = delete(self._client, many)
        except (SQSUnavailable, SQSRefused) as exc:
            now = time.monotonic()
            kept = [held for held in many if held.visible_at > now]
            log.warning("%s could not be deleted yet: %s", counted(len(many), "acknowledged message"), exc)
            with self._lock:
                self._waiting += kept
            self._news.set()
            return
        if lost:
            log.info(
                "SQS had shown %s to other consumers before the end of the task",
                counted(len(lost), "message"),
            )
