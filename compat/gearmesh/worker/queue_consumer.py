"""Consumes from queues: kombu's Consumer without its work for each message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from itertools import count
from types import TracebackType
from typing import Any

__all__ = ["QueueConsumer"]


class QueueConsumer:
    """Begins and ends the consumers of a channel.

    As a context manager, it ends all of them, and suppresses the errors of that. After a connection error it does
    not try, because it would wait for a server that does not answer.

    The callback gets messages that may have no more than ``body`` and ``delivery`` (see
    :class:`gearmesh.interfaces.transport.Channel`), straight from the channel. Every task passes here, and kombu's
    Consumer and Message would take a tenth of the worker's time.

    Args:
        channel: the channel.
        callback: gets each message.
        connection_errors: the exceptions of the channel's connection.
    """

    def __init__(
        self,
        channel: Any,
        callback: Callable[[Any], object],
        connection_errors: tuple[type[BaseException], ...],
    ) -> None:
        self._channel = channel
        self._callback = callback
        self._connection_errors = connection_errors
        self._numbers = count(1)
        #: queue -> the tag of its consumer
        self._tags: dict[str, str] = {}

    def begin(self, queues: Iterable[str]) -> None:
        """Consume from these queues; those from which it consumes already go on."""
        for queue in queues:
            if queue not in self._tags:
                tag = self._tags[queue] = f"gearmesh-{next(self._numbers)}"
                self._channel.basic_consume(
                    queue, no_ack=False, callback=self._callback, consumer_tag=tag, bare=True
                )

    def end(self, queues: Iterable[str] | None = None) -> None:
        """Consume from these queues no more; None: from no queue."""
        for queue in list(self._tags if queues is None else queues):
            tag = self._tags.pop(queue, None)
            if tag is not None:
                self._channel.basic_cancel(tag)

    def __enter__(self) -> QueueConsumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(exc, self._connection_errors):
            with contextlib.suppress(Exception):
                self.end()
