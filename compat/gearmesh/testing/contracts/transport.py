"""The contract of transports."""

from __future__ import annotations

from gearmesh.testing.contracts.delays import DelayContract
from gearmesh.testing.contracts.deliveries import DeliveryContract
from gearmesh.testing.contracts.enlistment import EnlistmentContract
from gearmesh.testing.contracts.inspection import InspectionContract
from gearmesh.testing.contracts.leases import LeaseContract
from gearmesh.testing.contracts.plain_kombu import PlainKombuContract
from gearmesh.testing.contracts.settlement import SettlementContract

__all__ = ["TransportContract"]


class TransportContract(
    DeliveryContract,
    SettlementContract,
    DelayContract,
    LeaseContract,
    EnlistmentContract,
    InspectionContract,
    PlainKombuContract,
):
    """A suite of tests for a transport, with all that workers and apps need.

    Subclass it in a test module and provide two fixtures.

    ``connect`` is a function ``(consumer=None, **options)`` that returns a ``kombu.Connection`` to an empty broker. All
    calls in one test connect to the same broker. The transport must know the option ``lease`` (seconds).

    ``enlistable`` is an empty backend that the transport's ``enlist`` accepts. The default is None: no backend. The old
    name of this fixture, ``fusable``, still works in this release.

    The channel's attributes decide which tests are skipped or demand less: ``supports_priority`` (False if missing),
    ``counts_losses``, ``lists_delayed``, ``lists_pending``, ``keeps_order``, ``records_crashes`` and
    ``publishes_once``; see :class:`gearmesh.interfaces.transport.Channel`. If ``lists_pending`` is False, provide a
    third fixture, ``look``: a function that takes the name of a queue, and returns the bodies of its waiting messages.
    """
