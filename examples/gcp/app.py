"""A task for workers on Google Pub/Sub. BROKER and RESULT_BACKEND in the environment say where."""

from gearmesh import App

app = App()


@app.task
def add(a: int, b: int) -> int:
    return a + b
