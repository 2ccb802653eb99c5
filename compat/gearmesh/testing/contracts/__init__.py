"""Contracts: test suites that each transport, backend and lock must pass, those of other packages included.

A test module subclasses a contract and provides its fixtures::

    from gearmesh.testing.contracts import TransportContract

    class TestMine(TransportContract):
        @pytest.fixture
        def connect(self):
            return lambda consumer=None, **options: open_connection(URL, consumer=consumer, options=options)

``pytest.register_assert_rewrite("gearmesh.testing.contracts")`` in a ``conftest.py`` makes failures readable.

The parts, each a class of tests about one subject:

``transport``
    :class:`TransportContract` joins ``deliveries`` (order, bytes, prefetch, waiting), ``settlement`` (what becomes of a
    delivery; repeated batches), ``delays``, ``leases`` (dead consumers, crash counts), ``enlistment`` (states in the
    step that settles), ``inspection`` (counts and purges) and ``plain_kombu`` (kombu programs without gearmesh). Its
    fixtures, and the consumer that tests look through, are in ``support``.
``backend``
    :class:`BackendContract` joins ``states``, ``groups`` (and chord triggers), ``announcements`` and
    ``optional_methods`` (claims, progress, revocations, search). Its fixtures are in ``store``.
``lock``
    :class:`LockContract`, for the locks of schedulers.

Begin reading with ``support``, then ``settlement``. What the tests demand is described in :mod:`gearmesh.interfaces`.

The three classes above and their fixtures and attributes are public. A contract must never use anything of an
implementation but its interface, depend on a clock's exactness, or sleep where it can await a condition.
"""

from __future__ import annotations

from gearmesh.testing.contracts.backend import BackendContract
from gearmesh.testing.contracts.lock import LockContract
from gearmesh.testing.contracts.transport import TransportContract

__all__ = ["BackendContract", "LockContract", "TransportContract"]
