"""The second seam's contract: what every result backend does."""

from __future__ import annotations

from gearmesh.testing.contracts.announcing import Announcing
from gearmesh.testing.contracts.besides import Besides
from gearmesh.testing.contracts.grouping import Grouping
from gearmesh.testing.contracts.keeping import Keeping

__all__ = ["BackendContract"]


class BackendContract(Keeping, Grouping, Announcing, Besides):
    """Subclass it in a test module and provide a fixture.

    ``open_backend``: a function ``(*, expire=3600)`` that opens the backend on a store without states, the
    same store for each call in one test.

    Set ``merges`` to False for a backend on which Machinery does not carry CreatedAt and TaskName over.
    What a backend does not do is named in ``lacks``, and skipped: ``watch`` may return None, and the methods of
    :class:`~gearmesh.interfaces.backend.SupportsClaims`, :class:`~gearmesh.interfaces.backend.SupportsProgress`,
    :class:`~gearmesh.interfaces.backend.SupportsRevocation` and
    :class:`~gearmesh.interfaces.backend.SupportsConditionalWrite` may be missing.
    """
