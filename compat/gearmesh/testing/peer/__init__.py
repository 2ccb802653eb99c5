"""gearmesh behind the peer contract: ``python -m gearmesh.testing.peer``.

The interop suite starts it next to another implementation and gives both the same requests; see
``docs/howto/interop.md`` for the contract. The parts are of use by themselves: :func:`make_app` is an app
with the contract's tasks, :class:`Peer` answers its requests without a process of its own.
"""

from gearmesh.testing.peer.tasks import Counter, make_app
from gearmesh.testing.peer.verbs import Peer

__all__ = ["Counter", "Peer", "make_app"]
