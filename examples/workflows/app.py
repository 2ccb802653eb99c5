"""The tasks of a small shop."""

import os

from gearmesh import App

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)


@app.task
def price(cents: int, pieces: int) -> int:
    return cents * pieces


@app.task
def add_tax(percent: int, cents: int) -> int:
    """In a chain ``percent`` is given, and ``cents`` comes from the step before."""
    return cents + cents * percent // 100


@app.task
def pack(item: str) -> str:
    if not item:
        raise ValueError("an empty box")
    return f"[{item}]"


@app.task
def ship(address: str, *boxes: str) -> str:
    """As a chord's body: each member's result is an argument of its own, in the members' order."""
    return f"{address}: {' '.join(boxes)}"


@app.task
def tidy_up(room: str) -> str:
    return f"{room} is tidy"


@app.task
def report(error: str, order: int) -> str:
    """For ``on_error``: the error's text comes first."""
    return f"order {order}: {error}"
