"""Printing numbers, and other parts that all benchmarks share."""

QUEUE = "machinery_tasks"


def report(what: str, value: str) -> None:
    print(f"{what:<58} {value:>18}", flush=True)
