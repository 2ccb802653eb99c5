"""The command line: ``gearmesh worker``, ``send``, ``result``, ``demo``."""

from gearmesh.cli.root import main

__all__ = ["main"]
