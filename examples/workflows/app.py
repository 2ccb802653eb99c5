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
    """Add a tax. In a chain, the sender gives ``percent``, and ``cents`` is the result of the step before."""
    return cents + cents * percent // 100


@app.task
def pack(item: str) -> str:
    if not item:
        raise ValueError("an empty box")
    return f"[{item}]"


@app.task
def ship(address: str, *boxes: str) -> str:
    """Ship boxes. As the body of a chord, it gets the result of each member as one argument, in their order."""
    return f"{address}: {' '.join(boxes)}"


@app.task
def tidy_up(room: str) -> str:
    return f"{room} is tidy"


@app.task
def report(error: str, order: int) -> str:
    """Report an error. ``on_error`` passes the text of the error as the first argument."""
    return f"order {order}: {error}"
