"""The app whose worker the benchmark measures."""

import os

from gearmesh import App

URL = os.environ["GEARMESH_BENCH_URL"]
#: Of a worker that is watched: the settings that are on.
WATCHED = os.environ.get("GEARMESH_BENCH_WATCHED", "").split(",")
app = App(
    broker=URL,
    backend=os.environ.get("GEARMESH_BENCH_BACKEND", URL),
    history="history" in WATCHED,
    remote_control="control" in WATCHED,
)


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def count(number: int) -> int:
    return number


@app.task
def length(text: str) -> int:
    return len(text)
