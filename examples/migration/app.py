"""The Python version of ``thumbnail``: the same name, the same types."""

import os

from gearmesh import App, Uint16

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)


@app.task
def thumbnail(image: bytes, width: Uint16) -> bytes:
    return image[:width]
