"""What the Go service does, for whoever has none at hand. Nobody who sends can tell the difference."""

import os

from gearmesh import App, Uint16

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS)  # default queue: machinery_tasks


@app.task
def resize(image: bytes, width: Uint16) -> bytes:
    return image[:width]
