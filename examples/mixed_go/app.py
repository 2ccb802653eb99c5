"""The Python side: a task that Go calls, and a task of the Go service that Python calls."""

import os

from gearmesh import App

REDIS = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App(broker=REDIS, backend=REDIS, default_queue="python_tasks")

#: Registered by the Go service as ``func Resize(image []byte, width uint16) ([]byte, error)``.
resize = app.remote("resize", "[]byte", "uint16", results="[]byte", queue="machinery_tasks")


@app.task
def describe(image: bytes, title: str = "untitled") -> tuple[str, int]:
    kind = "GIF" if image.startswith(b"GIF8") else "unknown"
    return f"{title} ({kind})", len(image)
