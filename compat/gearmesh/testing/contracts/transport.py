"""The first seam's contract: what every transport's channel does."""

from __future__ import annotations

from gearmesh.testing.contracts.bare_kombu import BareKombu
from gearmesh.testing.contracts.delaying import Delaying
from gearmesh.testing.contracts.delivering import Delivering
from gearmesh.testing.contracts.enlisting import Enlisting
from gearmesh.testing.contracts.inspecting import Inspect
from gearmesh.testing.contracts.leasing import Leasing
from gearmesh.testing.contracts.settling import Settling

__all__ = ["TransportContract"]


class TransportContract(Delivering, Settling, Delaying, Leasing, Enlisting, Inspect, BareKombu):
    """Subclass it in a test module and provide two fixtures.

    ``connect``: a function ``(consumer=None, **options)`` that returns a ``kombu.Connection`` to a broker
    without messages, the same broker for each call in one test. The option ``lease`` (seconds) must be known.
    ``enlistable``: a backend without states that the transport's ``enlist`` accepts, or None if there is none.

    ``priority`` is asked for where the channel has a true attribute ``supports_priority``. A channel whose
    attribute ``counts_losses`` is False may know of a message only that it was delivered before; one whose
    ``lists_delayed`` is False may refuse to list what is delayed.
    """
