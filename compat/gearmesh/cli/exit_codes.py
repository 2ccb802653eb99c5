"""Exit codes that all commands share."""

from __future__ import annotations

from typing import Final

__all__ = ["EXIT_ERROR", "EXIT_INTERRUPTED"]

#: The command line is wrong, a setting is wrong, or a server is unreachable.
EXIT_ERROR: Final = 2
#: After Ctrl-C: 128 and the number of SIGINT, as shells have it.
EXIT_INTERRUPTED: Final = 130
