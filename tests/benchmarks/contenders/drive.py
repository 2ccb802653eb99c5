"""Uses one contender as its user would: reads ``publish COUNT`` and the like from standard input, answers in JSON."""

from __future__ import annotations

import importlib
import json
import sys
import time


def main() -> None:
    contender = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        verb, count = line.split()
        start, cpu = time.perf_counter(), time.process_time()
        times = []
        if verb == "publish":
            contender.publish(int(count))
        elif verb == "prefill":
            getattr(contender, "prefill", contender.publish)(int(count))
        else:
            for _ in range(int(count)):
                began = time.perf_counter()
                contender.trip()
                times.append(time.perf_counter() - began)
        wall = time.perf_counter() - start
        print(json.dumps({"wall": wall, "cpu": time.process_time() - cpu, "times": times}), flush=True)


main()
