"""The Python version of ``thumbnail``, with the same name and types as in Go."""

import os

from gearmesh import App, Uint16

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)


@app.task
def thumbnail(image: bytes, width: Uint16) -> bytes:
    return image[:width]
