"""Two tasks."""

import os

from gearmesh import App, Uint8

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)


@app.task
def add(a: int, b: int) -> int:
    """In Go this would be ``func(a, b int64) (int64, error)``."""
    return a + b


@app.task
def shout(text: str, times: Uint8 = 1) -> tuple[str, int]:
    """Return two results; the second argument may be left out."""
    loud = text.upper() + "!" * times
    return loud, len(loud)
