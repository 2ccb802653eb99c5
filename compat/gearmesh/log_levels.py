"""The levels of log records that a setting may name."""

from __future__ import annotations

from typing import Final

__all__ = ["LEVELS"]

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
