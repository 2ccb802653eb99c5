"""Settings of MongoDB besides its URL."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MongoDBConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MongoDBConfig:
    """Machinery's MongoDB setting, which it has in code only.

    Attributes:
        database: where states are, unless the URL has an option ``database``. Both sides must agree on it.
    """

    database: str = "machinery"
