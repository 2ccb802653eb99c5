"""Settings of MongoDB that its URL does not hold."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MongoDBConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MongoDBConfig:
    """Machinery's MongoDB setting, which it has in code only.

    Attributes:
        database: the database of states, unless the URL has an option ``database``. Both sides must agree on it.
    """

    database: str = "machinery"
