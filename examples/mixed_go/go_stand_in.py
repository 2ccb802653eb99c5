"""A stand-in for the Go service, if you have none. A sender cannot tell the difference."""

import os

from gearmesh import App, Uint16

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)  # default queue: machinery_tasks


@app.task
def resize(image: bytes, width: Uint16) -> bytes:
    return image[:width]
