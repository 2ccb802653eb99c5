"""rq's task, in a module that its worker can import without the queue."""


def add(a: int, b: int) -> int:
    return a + b
