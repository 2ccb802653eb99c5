"""The columns of a table of messages."""

from __future__ import annotations

from gearmesh.cli.tables import Column

__all__ = ["message_columns"]


def message_columns(*, least: int) -> list[Column]:
    """The columns for the fields of a MessageText. ``least``: the smallest width of the arguments, in characters."""
    return [
        Column("uuid", identifier=True),
        Column("task", least=8),
        Column("retries", right=True, drop=1),
        Column("group", identifier=True, drop=2),
        Column("arguments", least=least),
    ]
