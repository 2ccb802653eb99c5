"""``python -m tests.interop.oracle``: the long form of the differential fuzz, on all cores."""

from __future__ import annotations

import argparse
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor

from .fuzz import Report, fuzz, fuzz_made, fuzz_stored, smallest
from .process import Oracle, build

#: The share of cases that are documents of MongoDB and items of DynamoDB.
STORED_SHARE = 0.2
#: The share of cases that are items of DynamoDB made by hand.
MADE_SHARE = 0.1


def main() -> int:
    """Run, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(
        description="Differential fuzz of Go's and Python's reading and writing."
    )
    parser.add_argument("--cases", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    for folder in (".", "stores", "items"):
        build(folder)  # once, before the processes ask for it
    share = -(-given.cases // given.processes)
    print(f"fuzz: {given.cases:,} cases from seed {given.seed}, in {given.processes} processes", flush=True)
    with ProcessPoolExecutor(given.processes) as pool:
        seeds = [given.seed + number for number in range(given.processes)]
        reports = list(pool.map(run, seeds, [share] * given.processes))
    for seed, report in zip(seeds, reports, strict=True):
        print(f"fuzz: seed {seed}: {report}")
        for difference in report.differences:
            print(difference)
    found = sum(len(report.differences) for report in reports)
    print(f"fuzz: {sum(report.cases for report in reports):,} cases, {found} differences")
    return found > 0


def run(seed: int, cases: int) -> Report:
    """One process's share, with the differences of messages made small."""
    stored_cases, made_cases = int(cases * STORED_SHARE), int(cases * MADE_SHARE)
    with Oracle() as oracle, Oracle(folder="stores") as stores, Oracle(folder="items") as made:
        report = fuzz(oracle, seed, cases - stored_cases - made_cases, until=5)
        small = [smallest(oracle, each) for each in report.differences]
        reports = (
            report._replace(differences=small),
            fuzz_stored(stores, seed, stored_cases, until=5),
            fuzz_made(made, seed, made_cases, until=5),
        )
    return Report(
        sum(each.cases for each in reports),
        sum(each.seconds for each in reports),
        sum(each.cpu_s for each in reports),
        sum(each.read for each in reports),
        [difference for each in reports for difference in each.differences],
    )


if __name__ == "__main__":
    sys.exit(main())
