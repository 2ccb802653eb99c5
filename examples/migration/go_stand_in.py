"""A stand-in for the Go service that runs ``thumbnail`` today, if you have none."""

import os

from gearmesh import App, Uint16

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)  # default queue: machinery_tasks


@app.task
def thumbnail(image: bytes, width: Uint16) -> bytes:
    return image[:width]
