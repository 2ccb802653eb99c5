"""If there is no Go service at hand: its task, in Python. ``gearmesh worker go_stand_in:app``"""

import os

from gearmesh import App
from gearmesh.types import Uint16

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
app = App(REDIS_URL, REDIS_URL, default_queue="go_tasks")


@app.task
def resize(image: bytes, width: Uint16) -> bytes:
    return image[:width]
