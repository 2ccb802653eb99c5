"""A task for workers on Google Pub/Sub. The environment variables BROKER and RESULT_BACKEND name the servers."""

from gearmesh import App

app = App()


@app.task
def add(a: int, b: int) -> int:
    return a + b
