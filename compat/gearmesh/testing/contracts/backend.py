"""The contract of result backends."""

from __future__ import annotations

from gearmesh.testing.contracts.announcements import AnnouncementContract
from gearmesh.testing.contracts.groups import GroupContract
from gearmesh.testing.contracts.optional_methods import OptionalMethodsContract
from gearmesh.testing.contracts.states import StateContract

__all__ = ["BackendContract"]


class BackendContract(StateContract, GroupContract, AnnouncementContract, OptionalMethodsContract):
    """A suite of tests for a result backend, with all that apps and workers need.

    Subclass it in a test module and provide a fixture.

    ``open_backend`` is a function ``(*, expire=3600)`` that opens the backend on an empty store. All calls in one test
    open the same store.

    The class attributes describe the limits of the backend: ``merges``, ``digits``, ``largest``, ``large``, ``each``,
    ``lacks`` and ``unstorable``; see :class:`~.store.BackendFixtures`.
    """
