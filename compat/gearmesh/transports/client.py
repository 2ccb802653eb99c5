"""kombu's connection, as one that does not wait in secret."""

from __future__ import annotations

from typing import Any

import kombu

__all__ = ["Client"]


class Client(kombu.Connection):  # type: ignore[misc]
    """Connects once, and raises.

    kombu's sleeps for two seconds when the first try fails, and tries again before it says so. Whoever connects here
    has pauses of his own: meanwhile a supervisor gave no heartbeats, and nobody looked for the dead.
    """

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("max_retries") == 1:  # as whatever needs a connection asks for it
            return self._connection if self.connected else self._connection_factory()
        return super()._ensure_connection(*args, **kwargs)
