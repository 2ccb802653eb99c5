"""Python tasks that Go calls with generated code."""

from __future__ import annotations

import os

from gearmesh import App
from gearmesh.types import Json, Uint16, Uint64

url = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
app = App(broker=url, backend=url, default_queue="python_tasks")


@app.task
def resize(image: bytes, width: Uint16 = 640, format: str = "png") -> tuple[bytes, str]:
    """Scale an image to a width."""
    return image[:width], format


@app.task(name="shop.total", retry_count=3)
def total(*prices: Uint64) -> Uint64:
    """Add up prices."""
    return sum(prices)


@app.task
def tags(of: str, known: Json[dict[str, int]]) -> Json[list[str]]:
    """Name the tags of a text."""
    return sorted(tag for tag, count in known.items() if tag in of and count > 0)


@app.task
def ping() -> None:
    """Do nothing."""


@app.task
def echo(value):  # type: ignore[no-untyped-def]
    """Return the value: a task without annotations."""
    return value
