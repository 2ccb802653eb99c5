"""Contracts: test suites that each transport, backend and lock must pass, including those of other packages.

A test module subclasses a contract and provides its fixtures::

    from gearmesh.testing.contracts import TransportContract

    class TestMine(TransportContract):
        @pytest.fixture
        def connect(self):
            return lambda consumer=None, **options: open_connection(URL, consumer=consumer, options=options)

``pytest.register_assert_rewrite("gearmesh.testing.contracts")`` in a ``conftest.py`` makes failures readable.

Each part is a class of tests about one subject:

``transport``
    :class:`TransportContract` joins ``deliveries`` (order, bytes, prefetch, waiting), ``settlement`` (the ways to
    settle, repeated batches), ``delays``, ``leases`` (dead consumers, crash counts), ``enlistment`` (states that are
    written in the step that settles), ``inspection`` (counts and purges) and ``plain_kombu`` (kombu programs without
    gearmesh). ``support`` has its fixtures, and the consumer through which tests receive messages.
``backend``
    :class:`BackendContract` joins ``states``, ``groups`` (and chord triggers), ``announcements`` and
    ``optional_methods`` (claims, progress, revocations, search). Its fixtures are in ``store``.
``lock``
    :class:`LockContract`, for the locks of schedulers.

Begin reading with ``support``, then ``settlement``. :mod:`gearmesh.interfaces` describes the behaviour that the tests
demand.

The three classes above and their fixtures and attributes are public. A contract must use only the interface of an
implementation. It must not depend on the exactness of a clock, or sleep if it can await a condition.
"""

from __future__ import annotations

from gearmesh.testing.contracts.backend import BackendContract
from gearmesh.testing.contracts.lock import LockContract
from gearmesh.testing.contracts.transport import TransportContract

__all__ = ["BackendContract", "LockContract", "TransportContract"]
