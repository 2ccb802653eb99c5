"""The app whose worker the benchmark measures."""

import os

from gearmesh import App

URL = os.environ["GEARMESH_BENCH_URL"]
app = App(
    broker=URL,
    backend=os.environ.get("GEARMESH_BENCH_BACKEND", URL),
    history=os.environ.get("GEARMESH_BENCH_HISTORY") == "True",
)


@app.task
def add(a: int, b: int) -> int:
    return a + b


@app.task
def count(number: int) -> int:
    return number
