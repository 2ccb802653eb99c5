"""gearmesh behind the peer contract: ``python -m gearmesh.testing.peer``.

The interop suite starts this peer next to another implementation and gives both the same requests;
``docs/howto/interop.md`` has the contract. You can also use its parts alone: :func:`make_app` makes an app with the
contract's tasks, and :class:`Peer` answers requests inside your process.
"""

from gearmesh.testing.peer.tasks import Counter, make_app
from gearmesh.testing.peer.verbs import Peer

__all__ = ["Counter", "Peer", "make_app"]
