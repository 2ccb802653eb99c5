"""A stand-in for the Go service, if you have none: its task in Python. ``gearmesh worker go_stand_in:app`` runs it."""

import os

from gearmesh import App
from gearmesh.types import Uint16

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
app = App(REDIS_URL, REDIS_URL, default_queue="go_tasks")


@app.task
def resize(image: bytes, width: Uint16) -> bytes:
    return image[:width]
