"""Tasks for workers on Amazon SQS. The environment variables BROKER and RESULT_BACKEND name the servers."""

from gearmesh import App

app = App()


@app.task
def add(*numbers: int) -> int:
    return sum(numbers)


@app.task(retry_count=1)
def unsteady(path: str) -> str:
    """Fail the first time, so that its retry waits in SQS."""
    try:
        with open(path, "x"):
            raise ConnectionError("the first try fails")
    except FileExistsError:
        return "the second try succeeds"
