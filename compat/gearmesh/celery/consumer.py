"""The consumer of a Celery worker: a message that the worker cannot run is parked or dead-lettered, and never lost."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from celery.utils.saferepr import saferepr
from celery.utils.serialization import jsonify
from celery.worker.consumer import Consumer as CeleryConsumer

from gearmesh.celery.setup import bridge_of
from gearmesh.errors import GearmeshError
from gearmesh.interfaces.commit import Commit, Settle

__all__ = ["Consumer"]

log = logging.getLogger("gearmesh.celery")


class _Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc]
    """The parts of the consumer, which ``celery inspect stats`` and Flower ask about the broker."""

    def info(self, parent: Any) -> dict[str, Any]:
        """Celery's hook. The transport options have values that are not JSON, and the reply to a question is JSON."""
        found: dict[str, Any] = jsonify(super().info(parent), unknown_type_filter=saferepr)
        return found


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Lets a Celery worker park messages that it cannot run: ``worker_consumer = "gearmesh.celery:Consumer"``.

    The worker parks a message whose task is not registered in it, so that another worker can take it. The message
    returns to the queue's tail at once, later after growing pauses, and becomes a dead letter in the end. A message
    that cannot be read becomes a dead letter at once. ``gearmesh dead`` lists dead letters.
    """

    Blueprint = _Blueprint

    def __init__(self, on_task_request: Any, *args: Any, app: Any = None, **kwargs: Any) -> None:
        self.bridge = bridge_of(app)
        super().__init__(on_task_request, *args, app=app, **kwargs)

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Celery's hook. Without an event loop, pools call it from threads that must not use the channel."""
        if self.hub is not None:
            return super().call_soon_ack(p, *args, **kwargs)
        done = self.call_soon(p, *args, **kwargs)
        if self.task_consumer is not None:
            self.task_consumer.channel.wake()
        return done

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's hook: an error in the handler concerns one message and must not stop the worker."""
        handle = super().create_task_handler(*args, **kwargs)
        pass_on = (*self.connection_errors, *self.channel_errors, MemoryError)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except pass_on:
                raise
            except Exception as exc:
                self.on_invalid_task(None, message, exc)

        return on_task_received

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Celery's hook: park the message, or drop it if its sender asked for that."""
        name = str(message.headers.get("task") or (message.payload or {}).get("task"))
        sig = getattr(message, "signature", None)
        if sig is not None and sig.IgnoreWhenTaskNotRegistered:
            log.info(
                "task %s is not registered in this worker: its message is dropped, as the sender asked", name
            )
            message.ack_log_error(log, self.connection_errors)
        elif not self._settle(message, "park", name, self.bridge.unregistered_max_age):
            super().on_unknown_task(body, message, exc)
            return
        else:
            log.info(
                "task %s is not registered in this worker: its message is parked and offered to other workers",
                name,
            )
        signals.task_unknown.send(
            sender=self, message=message, exc=exc, name=name, id=str(message.headers.get("id"))
        )

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Celery's hook: keep a message of another format as a dead letter."""
        if not self._settle(message, "dead", "not a task of Celery's or Machinery's"):
            super().on_unknown_message(body, message)

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Celery's hook: do as :meth:`on_decode_error`."""
        reason = f"not a task that Celery can run: {exc}"
        self._tell(message, reason)
        if not self._settle(message, "dead", reason):
            super().on_invalid_task(body, message, exc)
            return
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Celery's hook: keep the message as a dead letter, and store FAILURE if its signature can be read."""
        self._tell(message, str(exc))
        if not self._settle(message, "dead", f"cannot be read: {exc}"):
            super().on_decode_error(message, exc)

    def _tell(self, message: Any, error: str) -> None:
        sig = getattr(message, "signature", None)
        if sig is None:
            return
        try:
            self.bridge.fail(sig, error)
        except GearmeshError as exc:
            log.error("task %s: its FAILURE could not be written: %s", sig.UUID, exc)

    def _settle(self, message: Any, how: Any, reason: str, max_age: float = 0.0) -> bool:
        delivery = getattr(message, "delivery", None)
        if delivery is None:
            return False
        if how == "dead":
            log.error("dead letter on %s: %s", delivery.queue, reason)
        message.channel.commit([Commit(settle=Settle(delivery, how, reason, max_age=max_age))])
        message._state = "ACK"
        return True
