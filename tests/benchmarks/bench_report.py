"""How a number is printed, and what all benchmarks have in common."""

QUEUE = "machinery_tasks"


def report(what: str, value: str) -> None:
    print(f"{what:<58} {value:>18}", flush=True)
