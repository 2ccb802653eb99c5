"""What every transport, backend and lock must do, as pytest classes: for ours, and for anybody's.

A test module subclasses a contract and provides its fixtures::

    from gearmesh.testing.contracts import TransportContract

    class TestMine(TransportContract):
        @pytest.fixture
        def connect(self):
            return lambda consumer=None, **options: open_connection(URL, consumer=consumer, options=options)

``pytest.register_assert_rewrite("gearmesh.testing.contracts")`` in a ``conftest.py`` makes failures readable.
"""

from __future__ import annotations

from gearmesh.testing.contracts.backend import BackendContract
from gearmesh.testing.contracts.lock import LockContract
from gearmesh.testing.contracts.transport import TransportContract

__all__ = ["BackendContract", "LockContract", "TransportContract"]
