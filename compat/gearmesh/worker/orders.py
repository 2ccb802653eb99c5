"""Orders of a supervisor to its worker processes, other than to stop."""

from __future__ import annotations

import msgspec

__all__ = ["Order", "decode_order", "encode_order"]


class Order(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Changes settings of a worker's running processes. None leaves a setting as it is.

    Attributes:
        queues, tasks: names that are paused from now on, and no others.
        log_level: log from this level on.
        slots: tasks to run at a time.
    """

    queues: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    log_level: str | None = None
    slots: int | None = None


_decoder = msgspec.json.Decoder(Order)


def encode_order(order: Order) -> bytes:
    """Return the order as one line without its end."""
    return msgspec.json.encode(order)


def decode_order(line: bytes) -> Order:
    """Read a line. Raises msgspec.DecodeError."""
    return _decoder.decode(line)
