"""Pulls messages of one subscription: a few long polls at a time, never for more messages than there is room for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import grpc

from gearmesh.transports.pubsub.api import MAX_PULL_MESSAGES, Call, PubSubAPI

__all__ = ["Puller"]

#: Number of Pull requests at the same time. A second one asks for the room that becomes free while the first one waits.
MAX_PULLS: Final = 2


class Puller:
    """Keeps Pull requests on their way, and collects their messages.

    Pub/Sub's other way, the streaming pull, pushes up to a number that a stream cannot change, and counts a message
    that was leased for later among them. A Pull asks for as many messages as there are free slots.

    Args:
        api: Pub/Sub.
        subscription: the subscription's full name.
        arrived: called, in a thread of gRPC's, when a request has ended and :meth:`take` is due.
        put_back: called, in such a thread, with messages that came after :meth:`cancel`.
    """

    def __init__(
        self,
        api: PubSubAPI,
        subscription: str,
        arrived: Callable[[], None],
        put_back: Callable[[list[Any]], None],
    ) -> None:
        self._api = api
        self._subscription = subscription
        self._arrived = arrived
        self._put_back = put_back
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[Call, int]] = {}
        #: ended requests, and the number of messages of each, which take room until :meth:`take`
        self._done: deque[tuple[Call, int]] = deque()
        self._number = 0
        self._generation = 0

    def ask(self, room: int) -> None:
        """Ask for up to ``room`` messages, including those that earlier requests ask for."""
        while True:
            with self._lock:
                free = room - sum(count for _, count in (*self._calls.values(), *self._done))
                if free <= 0 or len(self._calls) >= MAX_PULLS:
                    return
                count = min(free, MAX_PULL_MESSAGES)
                number, generation = self._number, self._generation
                self._number += 1
                call = self._api.pull(self._subscription, count).start()
                self._calls[number] = call, count
            # If the call has ended already, gRPC calls this at once, in this thread.
            call.future.add_done_callback(
                lambda _, call=call, number=number, generation=generation: self._finish(
                    call, number, generation
                )
            )

    def take(self) -> list[Any]:
        """Return the messages that have come.

        Raises:
            PubSubUnavailable: a request has failed. Others may have brought messages: call again.
            ConfigError: the subscription does not exist.
        """
        messages: list[Any] = []
        while self._done:
            if messages and _failed(self._done[0][0]):
                break
            call, _ = self._done.popleft()
            if not _expired(call):
                messages += call.result().received_messages
        return messages

    def cancel(self) -> None:
        """Stop asking for messages; put back those that still come, and those that wait here."""
        with self._lock:
            self._generation += 1
            calls, self._calls = list(self._calls.values()), {}
        for call, _ in calls:
            call.future.cancel()
        while self._done:
            self._return(self._done.popleft()[0])

    def _finish(self, call: Call, number: int, generation: int) -> None:
        with self._lock:
            wanted = generation == self._generation
            if wanted:
                self._done.append(self._calls.pop(number))
        if wanted:
            self._arrived()
        else:
            self._return(call)

    def _return(self, call: Call) -> None:
        if not _failed(call):
            self._put_back(list(call.result().received_messages))


def _failed(call: Call) -> bool:
    return call.future.cancelled() or call.future.exception() is not None


def _expired(call: Call) -> bool:
    """True if Pub/Sub had no message while the request waited."""
    if call.future.cancelled():
        return False
    exc = call.future.exception()
    return isinstance(exc, grpc.RpcError) and exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED
