"""What goes to the broker: a signature that others may still look at, or one that is written already."""

from __future__ import annotations

import msgspec

from gearmesh.wire.codec import decode, encode
from gearmesh.wire.signature import Signature

__all__ = ["EncodedMessage", "PlannedMessage"]


class EncodedMessage(msgspec.Struct, frozen=True, gc=False):
    """A signature as bytes, to publish not before ``eta_ns`` (unix ns; 0: now), and what else is to be known of it."""

    uuid: str
    name: str
    queue: str
    body: bytes
    eta_ns: int = 0
    priority: int = 0

    @property
    def sig(self) -> Signature:
        """The signature again, for those few who want to look at it."""
        return decode(self.body)

    def written(self) -> EncodedMessage:
        """Itself."""
        return self


class PlannedMessage(msgspec.Struct, frozen=True, gc=False):
    """A signature to publish, not before ``eta_ns`` (unix ns; 0: now)."""

    sig: Signature
    eta_ns: int = 0

    def written(self) -> EncodedMessage:
        """As it goes out. Raises LocalProtocolError if Go could not read it."""
        sig = self.sig
        return EncodedMessage(sig.UUID, sig.Name, sig.RoutingKey, encode(sig), self.eta_ns, sig.Priority)
